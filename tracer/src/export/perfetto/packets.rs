//! Packets of one sequence, as bytes.
//!
//! In: what there is to tell. Out: bytes of a trace, each text in it once. Must not know: rows, reports.

use std::io;

use prost::encoding::message;
use rustc_hash::FxHashMap;

use super::proto::{
    DebugAnnotation, INCREMENTAL_STATE_CLEARED, InternedData, MONOTONIC, NEEDS_INCREMENTAL_STATE,
    Named, TracePacket, TracePacketDefaults, TrackDescriptor, TrackEvent, Type,
};
use crate::model::Timestamp;

/// A trace is nothing but packets: field 1 of `Trace`, again and again.
const PACKET: u32 = 1;

/// All packets are of one sequence.
const SEQUENCE: u32 = 1;

/// Texts after which numbering begins anew: there are as many as there were threads.
const TEXTS: usize = 32 << 10;

/// What a text is for: each has numbers of its own.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Category,
    Name,
    Key,
    Value,
}

/// Numbers for texts, told with the first packet that uses them.
#[derive(Debug, Default)]
struct Interned {
    known: [FxHashMap<Box<str>, u64>; 4],
    fresh: InternedData,
}

impl Interned {
    fn number(&mut self, kind: Kind, text: &str) -> Option<u64> {
        let known = &mut self.known[kind as usize];
        if let Some(number) = known.get(text) {
            return Some(*number);
        }
        let number = known.len() as u64 + 1;
        known.insert(text.into(), number);
        let fresh = match kind {
            Kind::Category => &mut self.fresh.event_categories,
            Kind::Name => &mut self.fresh.event_names,
            Kind::Key => &mut self.fresh.debug_annotation_names,
            Kind::Value => &mut self.fresh.debug_annotation_string_values,
        };
        fresh.push(Named {
            iid: Some(number),
            name: Some(text.to_owned()),
        });
        Some(number)
    }

    fn len(&self) -> usize {
        self.known.iter().map(FxHashMap::len).sum()
    }
}

/// What an event carries besides its name.
#[must_use]
pub struct Args<'a> {
    interned: &'a mut Interned,
    list: Vec<DebugAnnotation>,
}

impl Args<'_> {
    pub fn int(&mut self, key: &str, value: i64) {
        self.add(key).int_value = Some(value);
    }

    /// The same, of what is said only when it is not zero.
    pub fn count(&mut self, key: &str, value: i64) {
        if value != 0 {
            self.int(key, value);
        }
    }

    /// Said only when it is so.
    pub fn flag(&mut self, key: &str, value: bool) {
        if value {
            self.add(key).bool_value = Some(true);
        }
    }

    pub fn text(&mut self, key: &str, value: &str) {
        let number = self.interned.number(Kind::Value, value);
        self.add(key).string_value_iid = number;
    }

    pub fn texts<'t>(&mut self, key: &str, values: impl IntoIterator<Item = &'t str>) {
        let interned = &mut *self.interned;
        let element = |value: &str| DebugAnnotation {
            string_value_iid: interned.number(Kind::Value, value),
            ..DebugAnnotation::default()
        };
        let elements: Vec<_> = values.into_iter().map(element).collect();
        if !elements.is_empty() {
            self.add(key).array_values = elements;
        }
    }

    /// A list, each of its elements what `fill` makes of an item.
    pub fn list<T>(
        &mut self,
        key: &str,
        items: impl IntoIterator<Item = T>,
        fill: impl Fn(T, &mut Args<'_>),
    ) {
        let mut elements = Vec::new();
        for item in items {
            let mut args = Args {
                interned: self.interned,
                list: Vec::new(),
            };
            fill(item, &mut args);
            elements.push(DebugAnnotation {
                dict_entries: args.list,
                ..DebugAnnotation::default()
            });
        }
        if !elements.is_empty() {
            self.add(key).array_values = elements;
        }
    }

    pub fn take(self) -> Vec<DebugAnnotation> {
        self.list
    }

    fn add(&mut self, key: &str) -> &mut DebugAnnotation {
        let name_iid = self.interned.number(Kind::Key, key);
        self.list.push_mut(DebugAnnotation {
            name_iid,
            ..DebugAnnotation::default()
        })
    }
}

/// Where and when an event is, and what it is called.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    pub track: u64,
    /// From the window's start.
    pub at_ns: i64,
    pub category: &'a str,
    pub name: &'a str,
}

/// Collects bytes until somebody takes them.
#[derive(Debug)]
pub struct Packets {
    /// Of the window.
    start: Timestamp,
    interned: Interned,
    bytes: Vec<u8>,
}

impl Packets {
    /// The first packet says by which clock all others tell time.
    pub fn new(start: Timestamp) -> Packets {
        let mut packets = Packets {
            start,
            interned: Interned::default(),
            bytes: Vec::new(),
        };
        packets.clear();
        packets
    }

    /// Texts have no numbers any more.
    fn clear(&mut self) {
        self.interned = Interned::default();
        self.put(TracePacket {
            sequence_flags: Some(INCREMENTAL_STATE_CLEARED),
            trace_packet_defaults: Some(TracePacketDefaults {
                timestamp_clock_id: Some(MONOTONIC),
            }),
            ..TracePacket::default()
        });
    }

    /// Hands over what there is. No event may be begun and not told.
    pub fn write(&mut self, out: &mut dyn io::Write) -> io::Result<()> {
        if self.interned.len() > TEXTS {
            self.clear();
        }
        out.write_all(&self.bytes)?;
        self.bytes.clear();
        Ok(())
    }

    pub fn args(&mut self) -> Args<'_> {
        Args {
            interned: &mut self.interned,
            list: Vec::new(),
        }
    }

    pub fn describe(&mut self, track: TrackDescriptor) {
        self.put(TracePacket {
            track_descriptor: Some(Box::new(track)),
            ..TracePacket::default()
        });
    }

    /// A slice begins; `woken`: the flow that ends here.
    pub fn begin(&mut self, place: Place<'_>, args: Vec<DebugAnnotation>, woken: Option<u64>) {
        self.named(Type::SliceBegin, place, args, (None, woken));
    }

    /// Ends the slice of a track that began last.
    pub fn end(&mut self, track: u64, at_ns: i64) {
        let event = TrackEvent {
            r#type: Some(Type::SliceEnd.into()),
            track_uuid: Some(track),
            ..TrackEvent::default()
        };
        self.event(at_ns, event);
    }

    /// `wakes`: the flow that begins here.
    pub fn instant(&mut self, place: Place<'_>, args: Vec<DebugAnnotation>, wakes: Option<u64>) {
        self.named(Type::Instant, place, args, (wakes, None));
    }

    pub fn counter(&mut self, track: u64, at_ns: i64, value: f64) {
        let event = TrackEvent {
            r#type: Some(Type::Counter.into()),
            track_uuid: Some(track),
            double_counter_value: Some(value),
            ..TrackEvent::default()
        };
        self.event(at_ns, event);
    }

    fn named(
        &mut self,
        kind: Type,
        place: Place<'_>,
        debug_annotations: Vec<DebugAnnotation>,
        (flow_ids, terminating_flow_ids): (Option<u64>, Option<u64>),
    ) {
        let event = TrackEvent {
            r#type: Some(kind.into()),
            track_uuid: Some(place.track),
            category_iids: self.interned.number(Kind::Category, place.category),
            name_iid: self.interned.number(Kind::Name, place.name),
            flow_ids,
            terminating_flow_ids,
            debug_annotations,
            ..TrackEvent::default()
        };
        self.event(place.at_ns, event);
    }

    fn event(&mut self, at_ns: i64, event: TrackEvent) {
        let fresh = std::mem::take(&mut self.interned.fresh);
        let interned_data = (fresh != InternedData::default()).then(|| Box::new(fresh));
        self.put(TracePacket {
            timestamp: Some(self.start.0.saturating_add_signed(at_ns)),
            sequence_flags: Some(NEEDS_INCREMENTAL_STATE),
            interned_data,
            track_event: Some(event),
            ..TracePacket::default()
        });
    }

    pub fn put(&mut self, packet: TracePacket) {
        let packet = TracePacket {
            trusted_packet_sequence_id: Some(SEQUENCE),
            ..packet
        };
        message::encode(PACKET, &packet, &mut self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;

    #[derive(Clone, PartialEq, Message)]
    struct Trace {
        #[prost(message, repeated, tag = "1")]
        packet: Vec<TracePacket>,
    }

    fn packets(told: &[u8]) -> Vec<TracePacket> {
        Trace::decode(told).expect("what was encoded").packet
    }

    fn tell(packets: &mut Packets, text: &str, out: &mut Vec<u8>) {
        let mut args = packets.args();
        args.text("who", text);
        let args = args.take();
        let place = Place {
            track: 4,
            at_ns: -1,
            category: "test",
            name: "told",
        };
        packets.instant(place, args, None);
        packets.write(out).expect("memory takes all");
    }

    #[test]
    fn a_text_is_told_once() {
        let mut out = Vec::new();
        let mut told = Packets::new(Timestamp(10));
        tell(&mut told, "a", &mut out);
        tell(&mut told, "b", &mut out);
        tell(&mut told, "a", &mut out);
        let told = packets(&out);
        let [first, a, b, again] = &told[..] else {
            panic!("{told:#?}")
        };
        assert_eq!(first.sequence_flags, Some(INCREMENTAL_STATE_CLEARED));
        assert_eq!(a.timestamp, Some(9), "before the window");
        let fresh = |packet: &TracePacket| packet.interned_data.clone().unwrap_or_default();
        assert_eq!(fresh(a).event_names.len(), 1);
        assert_eq!(fresh(b).event_names, []);
        assert_eq!(fresh(b).debug_annotation_string_values.len(), 1);
        assert_eq!(again.interned_data, None);
        assert_eq!(a.track_event, again.track_event);
        assert_ne!(a.track_event, b.track_event);
    }

    #[test]
    fn so_many_texts_are_kept_and_then_numbers_begin_anew() {
        let mut out = Vec::new();
        let mut told = Packets::new(Timestamp(0));
        for n in 0..TEXTS {
            tell(&mut told, &n.to_string(), &mut out);
        }
        let told = packets(&out);
        let cleared =
            |packet: &TracePacket| packet.sequence_flags == Some(INCREMENTAL_STATE_CLEARED);
        assert_eq!(told.iter().filter(|packet| cleared(packet)).count(), 2);
        let anew = told.iter().rposition(cleared).expect("two of them");
        let next = &told[anew + 1];
        let fresh = next.interned_data.clone().unwrap_or_default();
        assert_eq!(fresh.event_names.len(), 1, "the name is told again");
        let [text] = &fresh.debug_annotation_string_values[..] else {
            panic!("{fresh:#?}")
        };
        assert_eq!(text.iid, Some(1));
    }
}
