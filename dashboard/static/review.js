// The reviewers' pages: every act by key, decisions at once with a way back, the next case ready. Without this file the
// same pages work as plain forms; this only sends them without leaving.

const csrf = document.querySelector("meta[name=csrf]").content;
const KEYS = { u: "uphold", o: "overturn", r: "restrict", e: "escalate", s: "skip" };

let next = null; // promise of the next case: its path and its parsed <main>
let last = null; // path of the case that was decided last, for undoing
let fading = 0;
let sending = false;
let turn = Promise.resolve(); // decisions are sent one after the other

const here = () => document.getElementById("case");
const say = (id) => document.getElementById("toast").dataset[id];

async function post(path, fields = {}) {
  const answer = await fetch(path, {
    method: "POST", body: new URLSearchParams(fields), headers: { "X-CSRF-Token": csrf, Accept: "application/json" },
  });
  const body = await answer.json();
  if (!answer.ok) throw Object.assign(new Error(body.error.message), { told: body.error, late: body.late });
  return body;
}

function toast(text, undo) {
  const place = document.getElementById("toast");
  place.replaceChildren(text);
  if (undo) {
    const button = document.createElement("button");
    button.className = "quiet small";
    button.textContent = place.dataset.undo;
    button.addEventListener("click", takeBack);
    place.append(button);
  }
  place.hidden = false;
  clearTimeout(fading);
  fading = setTimeout(() => { place.hidden = true; }, (undo || 6) * 1000);
}

function problem(error) {
  const told = error.told ?? { message: say("offline"), hint: "" };
  const place = document.createElement("p");
  place.className = "status bad problem";
  place.setAttribute("role", "alert");
  place.append(told.message);
  const hint = document.createElement("span");
  hint.className = "hint";
  hint.textContent = told.hint ?? "";
  place.append(hint);
  if (error.late) {
    const button = document.createElement("button");
    button.className = "small";
    button.textContent = say("late");
    button.addEventListener("click", () => adopt(error.late));
    place.append(button);
  }
  document.getElementById("said")?.replaceChildren(place);
  place.scrollIntoView({ block: "nearest" });
}

async function page(path) {
  const answer = await fetch(path);
  if (!answer.ok) throw new Error(path);
  const parsed = new DOMParser().parseFromString(await answer.text(), "text/html");
  return { path, title: parsed.title, main: parsed.querySelector("main") };
}

function show({ path, title, main }, how = "pushState") {
  document.querySelector("main").replaceWith(main);
  document.title = title;
  history[how]({}, "", path);
  scrollTo(0, 0);
  next = null;
  if (!sending) preload();
}

// The next case is claimed ahead, so that it is there at once; leaving gives it back. Never while a decision is under way: its
// case is still held then, and would be given again.
function preload() {
  if (here()?.dataset.held !== "yes") return;
  const claimed = post("/app/queue/next", { beside: here().dataset.case });
  next = claimed.then(({ path }) => (path ? page(path) : null)).catch(() => null);
}

async function goOn() {
  const ready = next && (await next);
  if (ready) return show(ready);
  try {
    const beside = here()?.dataset.case ?? "";
    const { path } = await post("/app/queue/next", { beside });
    show(await page(path ?? "/app/queue?done=empty"));
  } catch (error) {
    show(await page("/app/queue"));
    if (error.told) toast(error.told.message);
  }
}

// A key counts for the case that it was pressed on: one on the next case waits for its turn, a second one on the same is dropped.
function decide(outcome) {
  const pressed = here().dataset.case;
  turn = turn.then(() => (here()?.dataset.case === pressed ? send(outcome) : undefined));
}

// Optimistic: the next case is shown while this one is sent; refused, this one comes back as it was left.
async function send(outcome) {
  const form = document.getElementById("decide");
  const button = form?.querySelector(`[value=${outcome}]`);
  if (!button) return undefined;
  const field = form.elements[button.dataset.needs];
  if (!field.value.trim()) {
    form.dataset.pending = outcome;
    return field.focus();
  }
  sending = true;
  const before = { path: location.pathname, title: document.title, main: document.querySelector("main") };
  const fields = { ...Object.fromEntries(new FormData(form)), outcome };
  const sent = post(`${before.path}/decide`, fields);
  sent.catch(() => {}); // it is awaited below, after the next case is there
  const ready = next && (await next);
  if (ready) show(ready);
  try {
    const { undo } = await sent;
    last = outcome === "skip" ? null : before.path;
    if (!ready) await goOn();
    toast(say(outcome === "skip" ? "skipped" : "decided"), last && undo);
  } catch (error) {
    if (ready) show(before);
    problem(error);
  } finally {
    sending = false;
    if (!next) preload();
  }
}

async function adopt(decision) {
  const path = location.pathname;
  try {
    const { undo } = await post(`${path}/adopt`, { decision });
    last = path;
    await goOn();
    toast(say("decided"), undo);
  } catch (error) {
    problem(error);
  }
}

async function takeBack() {
  const button = document.querySelector("form[data-key=z] button");
  if (!last) return button?.click();
  const path = last;
  last = null;
  try {
    await post(`${path}/undo`);
    show(await page(path));
    document.getElementById("toast").hidden = true;
  } catch (error) {
    toast(error.told?.message ?? say("offline"));
  }
}

// Pixels are asked for only after the look was noted.
async function uncover(figure, how, part) {
  const image = figure.querySelector("img"), sha256 = figure.dataset.sha256, path = `/app/cases/${here().dataset.case}`;
  try {
    const { uncovered } = await post(`${path}/reveal`, { sha256, how });
    const seen = document.getElementById("seen");
    if (seen) seen.textContent = uncovered;
  } catch (error) {
    if (error.told?.code === "resting") return show(await page(path), "replaceState");
    return problem(error);
  }
  figure.dataset.how = how;
  image.src = `${path}/image?sha256=${sha256}&reveal=${how}&part=${part ?? 4}`;
}

function cover(figure) {
  figure.dataset.how = "";
  figure.querySelector("img").src = `/app/cases/${here().dataset.case}/image?sha256=${figure.dataset.sha256}`;
}

function press(key) {
  const figure = document.querySelector(".picture-main");
  if (key === "?") return document.getElementById("keys").showModal();
  if (key === "z") return takeBack();
  if (key === "n") return goOn();
  if (key === "x") return document.querySelector("form[data-key=x]")?.requestSubmit();
  if (key === "c") return document.querySelector("#decide [name=clause]")?.focus();
  if (key === "k") return document.querySelector("form[data-key=k]")?.requestSubmit();
  if (KEYS[key] && document.getElementById("decide")) return decide(KEYS[key]);
  if (!figure) return undefined;
  if (key === " ") return figure.dataset.how === "whole" ? cover(figure) : uncover(figure, "whole");
  if (key === "p") return uncover(figure, "part");
  if (key === "h") return figure.querySelector("[value=heat]")?.click();
  return key === "l" ? uncover(figure, "blurred") : undefined;
}

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || document.getElementById("keys")?.open) return;
  const typing = event.target.matches("input, textarea, select");
  if (typing && event.key === "Escape") return event.target.blur();
  const onControl = event.key === " " && event.target.matches("button, a, summary");
  if (typing || onControl || event.repeat || !["?", " ", "p", "l", "h", "z", "n", "x", "c", "k", ...Object.keys(KEYS)].includes(event.key)) return;
  event.preventDefault();
  press(event.key);
});

document.addEventListener("submit", (event) => {
  const form = event.target, figure = form.closest("figure");
  if (form.id === "decide") {
    event.preventDefault();
    decide(event.submitter && event.submitter === document.activeElement ? event.submitter.value : form.dataset.pending ?? "uphold");
  } else if (figure && form.matches(".reveals")) {
    event.preventDefault();
    uncover(figure, event.submitter.value);
  } else if (form.dataset.key === "n" && here()) {
    event.preventDefault();
    goOn();
  }
});

// A press on the picture uncovers the field under the pointer until it is let go.
document.addEventListener("pointerdown", (event) => {
  const figure = event.target.closest(".frame")?.closest("figure");
  if (!figure || event.button) return;
  const box = figure.querySelector("img").getBoundingClientRect();
  const [column, row] = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height].map((share) => Math.min(2, Math.max(0, Math.floor(share * 3))));
  if (figure.dataset.how !== "whole") uncover(figure, "part", row * 3 + column);
});

async function renew() {
  const kept = here();
  if (kept?.dataset.held !== "yes" || sending) return;
  try {
    await post(`/app/cases/${kept.dataset.case}/renew`, { token: kept.dataset.token });
    const ahead = (next && (await next))?.main.querySelector("#case");
    if (ahead) await post(`/app/cases/${ahead.dataset.case}/renew`, { token: ahead.dataset.token });
  } catch (error) {
    if (error.told && here() === kept) toast(say("lease"));
  }
}

addEventListener("popstate", () => location.reload());

addEventListener("pagehide", async () => {
  const ahead = (next && (await next))?.main.querySelector("#case");
  if (!ahead) return;
  const fields = new URLSearchParams({ csrf, token: ahead.dataset.token });
  navigator.sendBeacon(`/app/cases/${ahead.dataset.case}/release`, fields);
});

if (here()?.dataset.held === "yes") preload();
setInterval(renew, Math.max(3, Number(here()?.dataset.lease ?? 300) / 3) * 1000);
