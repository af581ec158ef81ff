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
    return call("Runtime.evaluate", tab, expression=expression, returnByValue=True)["result"].get("value")


def key(name):
    for kind in ["keyDown", "keyUp"]:
        call("Input.dispatchKeyEvent", tab, type=kind, key=name, text=name if len(name) == 1 and kind == "keyDown" else "")


def click_wait():
    spot = value("(b => { b.scrollIntoView(); const r = b.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2] })"
                 "([...document.querySelectorAll('table[aria-label=Threads] th button')].find(b => b.textContent === 'wait'))")
    for kind in ["mousePressed", "mouseReleased"]:
        call("Input.dispatchMouseEvent", tab, type=kind, x=spot[0], y=spot[1], button="left", clickCount=1)
    return value("[...document.querySelectorAll('table[aria-label=Threads] tbody tr')].map(r => r.cells[1].textContent)")


out = {"sorted": [click_wait(), click_wait()]}
view = "[...['from', 'to']].map(n => Number(document.getElementById('time').dataset[n]))"
spot = value("(c => { c.scrollIntoView(); c.focus(); const r = c.getBoundingClientRect(); return [r.x + r.width / 2, r.y + 20] })(document.getElementById('time'))")
out["views"] = [value(view)]
call("Input.dispatchMouseEvent", tab, type="mouseWheel", x=spot[0], y=spot[1], deltaX=0, deltaY=-100)
value("new Promise(requestAnimationFrame)")
out["views"].append(value(view))
for name in ["+", "ArrowRight", "-", "0"]:
    key(name)
    out["views"].append(value(view))
out["lines"] = value("JSON.parse(document.getElementById('lines').textContent)")
out["text"] = value("document.body.innerText")
out["intruders"] = value("document.querySelectorAll('img,svg,iframe').length + (window.__x === undefined ? 0 : 1)")
out["requests"] = [one["params"]["request"]["url"] for one in said if one.get("method") == "Network.requestWillBeSent"]
out["errors"] = [one for one in said if one.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled")]
out["load_ms"] = value("performance.timing.loadEventEnd - performance.timing.navigationStart")
import base64
shot = base64.b64decode(call("Page.captureScreenshot", tab)["data"])
out["screenshot"] = len(shot)
if len(sys.argv) > 2:
    open(sys.argv[2], "wb").write(shot)
print(json.dumps(out))
os.write(ours[1], b'{"id":0,"method":"Browser.close"}\0')
browser.wait()
