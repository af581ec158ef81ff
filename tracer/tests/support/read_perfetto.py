"""Reads a trace by Perfetto's own descriptors, checks what every trace must hold, and asks it in SQL.

Arguments: the trace, the page with the SQL. Prints what it found as JSON.

The trace processor is a program of its own, and not there. Its tables are made here as it makes them, as far as
the page asks for them, in the data base that it is built on.
"""

import json
import re
import sqlite3
import sys
from collections import Counter, defaultdict

from google.protobuf.unknown_fields import UnknownFieldSet
from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as pb

BEGIN, END, INSTANT, COUNTER = (
    pb.TrackEvent.TYPE_SLICE_BEGIN,
    pb.TrackEvent.TYPE_SLICE_END,
    pb.TrackEvent.TYPE_INSTANT,
    pb.TrackEvent.TYPE_COUNTER,
)


def known(message):
    """Whether the schema has all fields of a message, and of those in it."""
    if len(UnknownFieldSet(message)) > 0:
        return False
    for field, value in message.ListFields():
        if field.type == field.TYPE_MESSAGE:
            several = not isinstance(value, type(message)) and hasattr(value, "__len__")
            if not all(map(known, value if several else [value])):
                return False
    return True


class Texts:
    """Interned texts of the sequence."""

    KINDS = ("event_categories", "event_names", "debug_annotation_names", "debug_annotation_string_values")

    def __init__(self):
        self.of = {kind: {} for kind in self.KINDS}

    def learn(self, data):
        for kind in self.KINDS:
            for entry in getattr(data, kind):
                assert entry.iid > 0 and entry.iid not in self.of[kind], f"{kind} {entry.iid} again"
                text = entry.str.decode("utf-8") if kind.endswith("string_values") else entry.name
                self.of[kind][entry.iid] = text


def arguments(annotations, texts, key="debug", flat="debug"):
    """Key, flat key and value of each, as in the table `args`."""
    for one in annotations:
        name = texts.of["debug_annotation_names"][one.name_iid]
        yield from argument(one, texts, f"{key}.{name}", f"{flat}.{name}")


def argument(one, texts, key, flat):
    if one.array_values:
        for n, element in enumerate(one.array_values):
            yield from argument(element, texts, f"{key}[{n}]", flat)
    elif one.dict_entries:
        yield from arguments(one.dict_entries, texts, key, flat)
    elif one.WhichOneof("value") == "string_value_iid":
        yield key, flat, texts.of["debug_annotation_string_values"][one.string_value_iid]
    else:
        kind = one.WhichOneof("value")
        assert kind in ("int_value", "bool_value"), kind
        yield key, flat, int(getattr(one, kind))


class Slice:
    def __init__(self, number, track, ts, category, name, args):
        self.number, self.track, self.ts, self.dur = number, track, ts, None
        self.category, self.name, self.args = category, name, args
        self.out, self.into = [], []


trace = pb.Trace()
raw = open(sys.argv[1], "rb").read()
trace.ParseFromString(raw)
assert trace.SerializeToString() == raw, "what is written again is something else"
assert known(trace), "a field is not in the schema"

clocks, system, tracks, events, texts = {}, None, {}, [], None
resets = 0
for packet in trace.packet:
    assert packet.trusted_packet_sequence_id == 1
    if packet.sequence_flags & pb.TracePacket.SEQ_INCREMENTAL_STATE_CLEARED:
        texts = Texts()
        resets += 1
        assert packet.trace_packet_defaults.timestamp_clock_id == pb.BUILTIN_CLOCK_MONOTONIC
    if packet.HasField("interned_data"):
        texts.learn(packet.interned_data)
    if packet.HasField("clock_snapshot"):
        assert not events
        assert packet.clock_snapshot.primary_trace_clock == pb.BUILTIN_CLOCK_MONOTONIC
        clocks = {clock.clock_id: clock.timestamp for clock in packet.clock_snapshot.clocks}
    elif packet.HasField("system_info"):
        system = packet.system_info
    elif packet.HasField("track_descriptor"):
        track = packet.track_descriptor
        assert track.uuid != 0
        assert not track.HasField("parent_uuid") or track.parent_uuid in tracks, "an unknown parent"
        before = tracks.get(track.uuid, track)
        numbers = lambda track: (track.parent_uuid, track.process.pid, track.thread.pid, track.thread.tid)
        assert numbers(before) == numbers(track), "another one on the same track"
        if track.HasField("thread"):
            assert tracks[track.parent_uuid].process.pid == track.thread.pid
        tracks[track.uuid] = track
    elif packet.HasField("track_event"):
        event = packet.track_event
        assert event.track_uuid in tracks, "an event before its track"
        assert packet.sequence_flags & pb.TracePacket.SEQ_NEEDS_INCREMENTAL_STATE
        category = name = None
        if event.type in (BEGIN, INSTANT):
            [category] = [texts.of["event_categories"][iid] for iid in event.category_iids]
            name = texts.of["event_names"][event.name_iid]
        args = list(arguments(event.debug_annotations, texts))
        events.append((packet.timestamp, event, category, name, args))

start = clocks[pb.BUILTIN_CLOCK_MONOTONIC]
last = defaultdict(int)
for ts, event, *_ in events:
    # Slices of a track come in order; events between them may come before these have ended.
    if event.type in (BEGIN, END):
        assert ts >= last[event.track_uuid], "a track goes back in time"
        last[event.track_uuid] = ts

# As the trace processor does: by time, and what has the same time stays in order.
slices, counters, open_slices = [], defaultdict(list), defaultdict(list)
for ts, event, category, name, args in sorted(events, key=lambda event: event[0]):
    track = event.track_uuid
    if event.type == COUNTER:
        counters[track].append((ts, event.double_counter_value))
    elif event.type == END:
        ended = open_slices[track].pop()
        ended.dur = ts - ended.ts
    else:
        one = Slice(len(slices), track, ts, category, name, args)
        one.out, one.into = list(event.flow_ids), list(event.terminating_flow_ids)
        slices.append(one)
        if event.type == BEGIN:
            assert not open_slices[track], "two slices at a time"
            open_slices[track].append(one)
        else:
            one.dur = 0
assert not any(open_slices.values()), "a slice does not end"

sources = {}
for one in slices:
    for flow in one.out:
        assert flow not in sources, "a flow of two sources"
        sources[flow] = one
flows = []
for one in slices:
    for flow in one.into:
        assert one.name == "run" and sources[flow].name == "wakes"
        assert sources[flow].ts <= one.ts, "woken before the wake-up"
        flows.append((sources[flow].number, one.number))

# Threads and CPUs tell of the same runs.
cpu_of = {uuid: track.sibling_order_rank for uuid, track in tracks.items() if track.name.startswith("CPU ")}
runs = Counter()
for one in slices:
    if one.name == "run" and tracks[one.track].HasField("thread"):
        [cpu] = [value for key, _, value in one.args if key == "debug.cpu"]
        runs[(cpu, one.ts, one.dur)] += 1
    elif one.track in cpu_of:
        runs[(cpu_of[one.track], one.ts, one.dur)] -= 1
assert min(runs.values()) >= 0, "a run that no thread has"
spans = defaultdict(list)
for one in slices:
    if one.category in ("thread", "cpu") and one.name not in ("leaves", "known from counters alone"):
        spans[one.track].append(one)
gaps = 0
for track, all_of_it in spans.items():
    for before, after in zip(all_of_it, all_of_it[1:]):
        assert before.ts + before.dur <= after.ts, "slices that overlap"
        gaps += track not in cpu_of and before.ts + before.dur != after.ts
for one in slices:
    parts = [value for key, _, value in one.args if re.fullmatch(r"debug\.waited_for\[\d+\]\.ns", key)]
    if one.name == "wait" and tracks[one.track].HasField("thread"):
        assert sum(parts) == one.dur, (one.dur, parts)

[means] = counters.values()
ends = [ts for ts, _ in means[1:]] + [max(ts for ts, *_ in events)]
waited = sum(mean * (end - ts) for (ts, mean), end in zip(means, ends))

db = sqlite3.connect(":memory:")
db.executescript(
    """
    create table thread(utid integer primary key, tid integer, name text, upid integer);
    create table thread_track(id integer primary key, utid integer);
    create table slice(id integer primary key, ts integer, dur integer, track_id integer, category text, name text,
                       arg_set_id integer);
    create table args(arg_set_id integer, key text, flat_key text, display_value);
    create index of_set on args(arg_set_id);
    create table flow(slice_out integer, slice_in integer);
    """
)
argument_values = {}
for uuid, track in tracks.items():
    if track.HasField("thread"):
        thread = track.thread
        db.execute("insert into thread values (?, ?, ?, ?)", (uuid, thread.tid, thread.thread_name, track.parent_uuid))
        db.execute("insert into thread_track values (?, ?)", (uuid, uuid))
for one in slices:
    row = (one.number, one.ts, one.dur, one.track, one.category, one.name, one.number if one.args else None)
    db.execute("insert into slice values (?, ?, ?, ?, ?, ?, ?)", row)
    argument_values[one.number] = {key: value for key, _, value in one.args}
    for key, flat, value in one.args:
        db.execute("insert into args values (?, ?, ?, ?)", (one.number, key, flat, str(value)))
db.executemany("insert into flow values (?, ?)", flows)
db.create_function("extract_arg", 2, lambda number, key: argument_values.get(number, {}).get(key))
page = open(sys.argv[2], encoding="utf-8").read().split("\n## Perfetto\n")[1].split("\n## ")[0]
answers = [db.execute(sql).fetchall() for sql in re.findall(r"```sql\n(.*?)```", page, re.DOTALL)]

print(
    json.dumps(
        {
            "clocks": clocks,
            "system": {"machine": system.utsname.machine, "cpus": system.num_cpus},
            "resets": resets,
            "first": min(ts for ts, *_ in events) - start,
            "last": max(ts for ts, *_ in events) - start,
            "tracks": [
                [uuid, track.process.pid, track.thread.tid, track.thread.thread_name or track.process.process_name or track.name]
                for uuid, track in tracks.items()
            ],
            "names": Counter(one.name for one in slices if one.category != "cpu"),
            "totals": [
                [tid, sum(one.dur for one in spans[uuid] if one.name == state), state]
                for uuid, track in tracks.items()
                for tid in [track.thread.tid]
                if track.HasField("thread")
                for state in ("run", "wait", "sleep", "block", "stopped", "unknown")
            ],
            "keys": sorted({flat for one in slices for _, flat, _ in one.args}),
            "spikes": [dict((key, value) for key, _, value in one.args) for one in slices if one.name == "spike"],
            "gaps": gaps,
            "only_on_threads": sum(runs.values()),
            "flows": len(flows),
            "waited": waited,
            "run": answers[0],
            "switches": answers[1],
            "waits": answers[2],
            "wakeups": answers[3],
        }
    )
)
