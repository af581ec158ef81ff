# PARTIES threads or processes of Python that count, ROUNDS rounds of SECONDS each: counts a second of all of them.
import os
import sys
import threading
import time

parties, rounds, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])


def ends_with_input():
    def watch():
        os.read(0, 1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def count(until):
    done = 0
    while time.monotonic() < until:
        for _ in range(1000):
            done += 1
    return done


def threads(many, until):
    counts = []
    all_of_them = [
        threading.Thread(target=lambda: counts.append(count(until)))
        for _ in range(many)
    ]
    for thread in all_of_them:
        thread.start()
    for thread in all_of_them:
        thread.join()
    return sum(counts)


def processes(many, until):
    read, write = os.pipe()
    children = []
    for _ in range(many):
        child = os.fork()
        if child == 0:
            ends_with_input()
            os.write(write, b"%20d" % count(until))
            os._exit(0)
        children.append(child)
    os.close(write)
    for child in children:
        os.waitpid(child, 0)
    done = sum(int(os.read(read, 20)) for _ in children)
    os.close(read)
    return done


def rate(play, many):
    start = time.monotonic()
    done = play(many, start + seconds)
    return "%d" % (done / (time.monotonic() - start))


ends_with_input()
print("version:", sys.version_info[0], sys.version_info[1], flush=True)
has_lock = getattr(sys, "_is_gil_enabled", lambda: True)()
print("gil:", int(has_lock), flush=True)
told = {"one": [], "threads": [], "processes": []}
for _ in range(rounds):
    # In turn: what else the machine does meanwhile is not charged to one of them.
    told["one"].append(rate(threads, 1))
    told["threads"].append(rate(threads, parties))
    told["processes"].append(rate(processes, parties))
for name, rates in told.items():
    print(name + ":", *rates, flush=True)
