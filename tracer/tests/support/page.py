"""Opens a page in Chromium, over the pipe of its DevTools protocol, and does with it what a reader would."""
import json, os, subprocess, sys, tempfile

page = sys.argv[1]
ours, theirs = os.pipe(), os.pipe()


def hand_over():
    kept = os.dup(ours[0]), os.dup(theirs[1])
    os.dup2(kept[0], 3)
    os.dup2(kept[1], 4)


profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
browser = subprocess.Popen(
    ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe",
     "--user-data-dir=" + profile.name, "about:blank"],
    preexec_fn=hand_over, close_fds=False, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
os.close(ours[0])
os.close(theirs[1])
answers, said, number = os.fdopen(theirs[0], "rb"), [], 0


def message():
    text = bytearray()
    while (byte := answers.read(1)) != b"\0":
        if not byte:
            sys.exit("the browser is gone")
        text += byte
    return json.loads(text)


def call(method, session=None, **params):
    global number
    number += 1
    ask = {"id": number, "method": method, "params": params}
    if session:
        ask["sessionId"] = session
    os.write(ours[1], json.dumps(ask).encode() + b"\0")
    while (answer := message()).get("id") != number:
        said.append(answer)
    if "error" in answer:
        sys.exit(f"{method}: {answer['error']}")
    return answer["result"]


target = call("Target.createTarget", url="about:blank")["targetId"]
tab = call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
for domain in ["Page", "Runtime", "Network", "Log"]:
    call(domain + ".enable", tab)
call("Page.navigate", tab, url="file://" + page)
while not any(one.get("method") == "Page.loadEventFired" for one in said):
    said.append(message())


def value(expression):
    answer = call("Runtime.evaluate", tab, expression=expression, returnByValue=True)
    if "exceptionDetails" in answer:
        sys.exit(f"{expression}: {answer['exceptionDetails']}")
    return answer["result"].get("value")


def key(name):
    for kind in ["keyDown", "keyUp"]:
        text = name if len(name) == 1 and kind == "keyDown" else ""
        call("Input.dispatchKeyEvent", tab, type=kind, key=name, text=text)


def click(element):
    spot = value("(e => { e.scrollIntoView({block: 'center'}); const r = e.getBoundingClientRect();"
                 f"return [r.x + r.width / 2, r.y + r.height / 2] }})({element})")
    for kind in ["mousePressed", "mouseReleased"]:
        call("Input.dispatchMouseEvent", tab, type=kind, x=spot[0], y=spot[1], button="left", clickCount=1)


def sort(column):
    """The tids from top to bottom, and what the heading says."""
    head = f"[...document.querySelectorAll('table[aria-label=Threads] th')].find(e => e.textContent === '{column}')"
    click(f"{head}.firstChild")
    tids = value("[...document.querySelectorAll('table[aria-label=Threads] tbody tr')].map(r => Number(r.cells[1].textContent))")
    return {"tids": tids, "order": value(f"{head}.getAttribute('aria-sort')")}


out = {column: {"descending": sort(column), "ascending": sort(column)} for column in ["wait", "run", "voluntary"]}

# The time line, by wheel and by keys.
view = "['from', 'to'].map(n => Number(document.getElementById('time').dataset[n]))"
spot = value("(c => { c.scrollIntoView(); c.focus(); const r = c.getBoundingClientRect(); return [r.x + r.width / 2, r.y + 20] })(document.getElementById('time'))")
out["views"] = [value(view)]
call("Input.dispatchMouseEvent", tab, type="mouseWheel", x=spot[0], y=spot[1], deltaX=0, deltaY=-100)
out["views"].append(value(view))
for name in ["+", "PageDown", "-", "0"]:
    key(name)
    out["views"].append(value(view))

# A cursor that keys move: what it says, and what the page holds there.
out["cursor"] = []
for name in ["Home", "ArrowRight", "ArrowRight", "ArrowDown", "ArrowUp", "ArrowLeft", "End"]:
    key(name)
    out["cursor"].append(value("[cursor.row, cursor.bin, document.getElementById('readout').textContent]"))
out["live"] = value("document.getElementById('readout').getAttribute('aria-live')")

# What the page makes of its own data: each line from end to end.
out["sums"] = value("everything.map(line => sums(line, 0, data.bins * data.bin_ns).map((ns, state) => ns + line.elsewhere_ns[state]))")
out["bins"] = value("data.bins")

# The box above the time line: all, those of one tid, nobody, all.
out["filtered"] = []
for text in ["", "String((data.threads.find(line => line.tid !== line.pid) || data.threads[0]).tid)", "'no such thread'", "''"]:
    value(f"(box => {{ box.value = {text or repr('')}; box.dispatchEvent(new Event('input')) }})(document.getElementById('filter'))")
    out["filtered"].append(value("lines.map(label)"))

# Light or dark.
ground = "getComputedStyle(document.body).backgroundColor"
out["grounds"] = [value(ground)]
for _ in range(2):
    click("document.getElementById('theme')")
    out["grounds"].append(value(ground))

out["lines"] = value("JSON.parse(document.getElementById('lines').textContent)")
out["report"] = value("JSON.parse(document.getElementById('report').textContent)")
out["bars"] = value("[...document.querySelectorAll('.bar')].map(bar => [...bar.children].map(part => Number(part.dataset.ns)))")
out["feet"] = value("Object.fromEntries([...document.querySelectorAll('table')].map(t => [t.ariaLabel, t.tFoot ? t.tFoot.rows[0].cells[0].textContent : null]))")
out["rows"] = value("Object.fromEntries([...document.querySelectorAll('table')].map(t => [t.ariaLabel, t.tBodies[0].rows.length]))")
out["text"] = value("document.body.innerText")
out["intruders"] = value("document.querySelectorAll('img,svg,iframe,object,a').length + document.scripts.length - 3 + (window.__x === undefined ? 0 : 1)")
out["requests"] = [one["params"]["request"]["url"] for one in said if one.get("method") == "Network.requestWillBeSent"]
out["errors"] = [one for one in said if one.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled")]
print(json.dumps(out))
os.write(ours[1], b'{"id":0,"method":"Browser.close"}\0')
browser.wait()
