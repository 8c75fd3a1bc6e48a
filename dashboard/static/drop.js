// The drop page: sends one image to the API and shows the verdict with its evidence.

const form = document.getElementById("scan");
const zone = document.getElementById("zone");
const input = document.getElementById("file");
const status = document.getElementById("status");
const result = document.getElementById("result");
const preview = document.getElementById("preview");
const boxes = document.getElementById("boxes");

const FACTS = ["sha256", "md5", "pdq", "phash", "dhash"];
const PROVENANCE = ["c2pa", "source_type", "generator", "watermark", "software"];
const WORDS = JSON.parse(document.getElementById("words").textContent);

// Words in the reader's language; {name}s in them are filled in.
function words(name, values = {}) {
  return WORDS[name].replace(/\{(\w+)\}/g, (_, key) => values[key]);
}

let current = null; // the file that is shown, so that another policy can judge it again
let running = null; // aborts the request before it when another starts

function element(tag, text, className) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

function say(text, { bad = false, hint = "" } = {}) {
  status.hidden = false;
  status.className = bad ? "status bad" : "status";
  status.replaceChildren(text);
  if (hint) status.append(element("span", hint, "hint"));
}

async function scan(file) {
  current = file;
  running?.abort();
  running = new AbortController();
  const fields = new FormData(form);
  const key = fields.get("key");
  fields.delete("key");
  fields.append("image", file, file.name || "pasted");
  say(words("scanning", { name: file.name || words("pasted") }));
  result.hidden = true;
  try {
    const answer = await fetch("/v1/scans", {
      method: "POST", body: fields, signal: running.signal, headers: key ? { Authorization: `Bearer ${key}` } : {},
    });
    const body = await answer.json();
    if (!answer.ok) return say(body.error.message, { bad: true, hint: body.error.hint });
    status.hidden = true;
    show(file, body);
  } catch (error) {
    if (error.name !== "AbortError") say(words("no_answer"), { bad: true, hint: words("try_again") });
  }
}

function show(file, scan) {
  showVerdict(file, scan);
  showPicture(file, scan);
  showMeasured(scan.findings);
  showProvenance(scan.findings);
  showSignals(scan);
  showAbsent(scan.findings);
  showTimings(scan);
  document.getElementById("json").textContent = JSON.stringify(scan, null, 2);
  result.hidden = false;
}

function showVerdict(file, scan) {
  const { verdict, reused } = scan;
  document.querySelector(".verdict").className = `verdict is-${verdict.action}`;
  document.getElementById("action").textContent = words(`action_${verdict.action}`);
  document.getElementById("file-name").textContent = file.name || words("pasted");
  document.getElementById("verdict-summary").textContent =
    `${words(verdict.action)} ${words("judged", verdict.policy)}${reused ? ` ${words("reused")}` : ""}`;
  showCase(scan.case);
  document.getElementById("reasons").replaceChildren(...verdict.reasons.map((reason) => {
    const item = element("li");
    item.append(element("span", words(`action_${reason.action}`), `chip chip-${reason.action}`), ` ${reason.reason} `);
    item.append(element("code", reason.rule));
    return item;
  }));
}

// Where people decide on it: a link for those who are signed in and work its queue.
function showCase(found) {
  const place = document.getElementById("case");
  place.hidden = !found;
  if (!found) return;
  const { works } = place.dataset;
  const mine = works !== undefined && (works === "" || works.split(",").includes(found.queue));
  const name = mine ? element("a", found.id) : element("code", found.id);
  if (mine) name.href = `/app/cases/${found.id}`;
  place.replaceChildren(`${words(["open", "second"].includes(found.state) ? "waits" : "decided")} `, name, ` (${found.queue})`);
}

function showPicture(file, { image, findings }) {
  if (preview.src) URL.revokeObjectURL(preview.src);
  preview.src = URL.createObjectURL(file);
  preview.onload = () => drawBoxes(findings);
  preview.onerror = () => boxes.replaceChildren();
  const frames = image.frames > 1 ? `, ${words("frames", image)}` : "";
  document.getElementById("facts").textContent =
    `${image.format}, ${image.width} × ${image.height}${frames}, ${Math.max(1, Math.round(image.bytes / 1000)).toLocaleString()} kB`
    + `, ${words(image.kept ? "kept" : "not_kept")}`;
}

function drawBoxes(findings) {
  Object.assign(boxes.style, {
    left: `${preview.offsetLeft}px`, top: `${preview.offsetTop}px`,
    width: `${preview.offsetWidth}px`, height: `${preview.offsetHeight}px`,
  });
  boxes.replaceChildren(...findings.filter((finding) => finding.region).map(({ label, score, region }) => {
    const box = element("div", undefined, region.y < 0.06 ? "box low" : "box");
    Object.assign(box.style, {
      left: `${region.x * 100}%`, top: `${region.y * 100}%`,
      width: `${region.width * 100}%`, height: `${region.height * 100}%`,
    });
    box.append(element("span", score === null ? label : `${label} ${score.toFixed(2)}`));
    return box;
  }));
}

function showMeasured(findings) {
  const rows = findings.filter((f) => f.status === "ok" && f.score !== null && f.label !== "watermark").map((finding) => {
    const row = element("tr");
    const score = element("td", finding.score.toFixed(3), "number");
    const meter = element("span", undefined, "meter");
    const bar = element("i");
    bar.style.width = `${finding.score * 100}%`;
    meter.append(bar);
    score.append(meter);
    row.append(element("td", finding.label + (finding.frame === null ? "" : `, ${words("frame", finding)}`)), score,
      element("td", finding.fpr === null ? "—" : percent(finding.fpr), "number"),
      element("td", finding.model ?? finding.detector, "muted"));
    return row;
  });
  if (!rows.length) {
    const cell = element("td", words("no_scores"), "muted");
    cell.colSpan = 4;
    rows.push(element("tr"));
    rows[0].append(cell);
  }
  document.querySelector("#measured tbody").replaceChildren(...rows);
}

function percent(share) {
  return share >= 0.001 ? `${(share * 100).toPrecision(2)} %` : words("one_in", { number: Math.round(1 / share).toLocaleString() });
}

function showProvenance(findings) {
  const cards = findings.filter((f) => f.status === "ok" && PROVENANCE.includes(f.label)).map(({ label, evidence }) => {
    const card = element("div", undefined, "card");
    const title = element("h4", words(`title_${label}`));
    for (const [text, tone] of chips(label, evidence)) title.append(element("span", text, `chip chip-${tone}`));
    card.append(title, pairs(evidence));
    return card;
  });
  document.getElementById("provenance").replaceChildren(...(cards.length ? cards
    : [element("p", words("no_provenance"), "muted")]));
}

function chips(label, evidence) {
  const found = [];
  if (label === "c2pa" && evidence.state === "remote") {
    found.push([words("remote"), "plain"]);
  } else if (label === "c2pa") {
    found.push([evidence.state, evidence.state === "valid" ? "allow" : "hold"]);
    found.push([words(evidence.trusted ? "trusted" : "untrusted"), evidence.trusted ? "allow" : "restrict"]);
  }
  if (evidence.ai_generated) found.push([words("ai_generated"), "label"]);
  if (evidence.ai_edited) found.push([words("ai_edited"), "label"]);
  if (evidence.tool) found.push([evidence.tool, "plain"]);
  return found;
}

function pairs(evidence) {
  const list = element("dl", undefined, "pairs");
  for (const [key, value] of Object.entries(evidence)) {
    if (value === "" || value === null || typeof value === "boolean" || (Array.isArray(value) && !value.length)) continue;
    const text = Array.isArray(value) ? value.join(", ") : typeof value === "object" ? JSON.stringify(value) : String(value);
    list.append(element("dt", key.replaceAll("_", " ")), element("dd", text.length > 600 ? `${text.slice(0, 600)} …` : text));
  }
  return list;
}

function showSignals({ findings }) {
  const rows = findings.filter((f) => f.status === "ok" && FACTS.includes(f.label)).flatMap(({ label, evidence, frame }) => {
    const note = label === "pdq" ? `  ${words("quality", evidence)}${evidence.hashable ? "" : `, ${words("too_plain")}`}` : "";
    return [element("dt", frame === null ? label : `${label}, ${words("frame", { frame })}`), element("dd", evidence.hash + note, "hash")];
  });
  document.getElementById("signals").replaceChildren(...rows);
}

function showAbsent(findings) {
  const absent = findings.filter((finding) => finding.status !== "ok");
  document.getElementById("absent-section").hidden = !absent.length;
  document.getElementById("absent").replaceChildren(
    ...absent.map(({ label, status: state, reason }) => element("li", `${label}: ${state}, ${reason}`)));
}

function showTimings({ timings, findings, reused }) {
  const { total, ...parts } = timings;
  for (const { detector, status: state } of findings) if (state === "skipped") delete parts[detector];
  const rows = [...Object.entries(parts), [words("total"), total ?? 0]].map(([name, milliseconds]) => {
    const row = element("div");
    const track = element("span", undefined, "track");
    const bar = element("i");
    bar.style.width = `${Math.min(100, (milliseconds / (total || 1)) * 100)}%`;
    track.append(bar);
    row.append(element("span", name), track, element("span", `${milliseconds.toFixed(0)} ms`, "ms"));
    return row;
  });
  if (reused) rows.push(element("p", words("time_of_first"), "muted"));
  document.getElementById("timings").replaceChildren(...rows);
}

form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("change", () => current && scan(current));
input.addEventListener("change", () => input.files[0] && scan(input.files[0]));
window.addEventListener("paste", (event) => {
  const [file] = event.clipboardData?.files ?? [];
  if (file) scan(file);
});
for (const name of ["dragover", "dragenter"]) {
  window.addEventListener(name, (event) => { event.preventDefault(); zone.classList.add("over"); });
}
window.addEventListener("dragleave", (event) => event.relatedTarget === null && zone.classList.remove("over"));
window.addEventListener("drop", (event) => {
  event.preventDefault();
  zone.classList.remove("over");
  const [file] = event.dataTransfer.files;
  if (file) scan(file);
});
window.addEventListener("resize", () => { boxes.style.left = `${preview.offsetLeft}px`; boxes.style.width = `${preview.offsetWidth}px`; boxes.style.top = `${preview.offsetTop}px`; boxes.style.height = `${preview.offsetHeight}px`; });
