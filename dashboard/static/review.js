// The reviewers' pages: every act by key, decisions at once with a way back, the next case ready. Without this file the
// same pages work as plain forms; this only sends them without leaving.

import { compare, cover, searchAlike, step, uncover } from "./looking.js";
import { button, csrf, here, post, problem, say, toast } from "./talk.js";
import { forget, keep, kept } from "./unsent.js";

const KEYS = { u: "uphold", o: "overturn", r: "restrict", e: "escalate", s: "skip" };
const OTHERS = ["?", " ", "p", "l", "h", "f", ",", ".", "z", "n", "x", "c", "k"];

let next = null; // promise of the next case: its path and its parsed <main>
let last = null; // path of the case that was decided last, for undoing
let sending = false;
let turn = Promise.resolve(); // decisions are sent one after the other
let again = 0; // the timer by which what was not sent is sent again
let pause = 1; // seconds until then
let lost = false; // whether something is known not to have been sent

function tell(error) {
  const more = error.late ? [button(say("late"), () => adopt(error.late))] : [];
  problem(error.told ?? { message: say("offline") }, ...more);
}

function done(outcome, undo) {
  const way = undo && last ? [button(say("undo"), takeBack, "quiet small")] : [];
  toast(say(outcome === "skip" ? "skipped" : "decided"), (way.length && undo) || 6, ...way);
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
  searchAlike();
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
    if (!error.told) return toast(say("away"));
    show(await page("/app/queue"));
    toast(error.told.message);
  }
}

// A key counts for the case that it was pressed on: one on the next case waits for its turn, a second one on the same is dropped.
function decide(outcome) {
  const pressed = here().dataset.case;
  turn = turn.then(() => (here()?.dataset.case === pressed ? send(outcome) : undefined));
}

// Optimistic: the next case is shown while this one is sent; refused, this one comes back as it was left. It is kept in the tab
// until the server has answered.
async function send(outcome) {
  const form = document.getElementById("decide");
  const pressed = form?.querySelector(`[value=${outcome}]`);
  if (!pressed) return undefined;
  const field = form.elements[pressed.dataset.needs];
  if (!field.value.trim()) {
    form.dataset.pending = outcome;
    return field.focus();
  }
  sending = true;
  const before = { path: location.pathname, title: document.title, main: document.querySelector("main") };
  const { csrf: _, ...fields } = { ...Object.fromEntries(new FormData(form)), outcome };
  keep(before.path, fields);
  const sent = post(`${before.path}/decide`, fields);
  sent.catch(() => {}); // it is awaited below, after the next case is there
  const ready = next && (await next);
  if (ready) show(ready);
  try {
    const { undo } = await sent;
    forget(before.path);
    last = outcome === "skip" ? null : before.path;
    if (!ready) await goOn();
    done(outcome, undo);
  } catch (error) {
    if (ready) show(before);
    if (isAnswer(error)) forget(before.path);
    if (isAnswer(error)) tell(error);
    else notSent(error);
  } finally {
    sending = false;
    if (!next) preload();
  }
}

// Whether the server has judged what was sent: not where it is away, overloaded, or asks to sign in first.
const isAnswer = (error) => Boolean(error.told) && error.status < 500 && ![401, 429].includes(error.status);

// What was not sent is said, and sent again by itself: the server counts it once, whichever of the copies arrives.
function notSent(error) {
  const mine = kept().some(([path]) => path === location.pathname), message = error.told?.message ?? say("unsent");
  if (mine) problem({ message, hint: say("unsenthint") }, button(say("sendnow"), sendAgain));
  else toast(message, 30, button(say("sendnow"), sendAgain, "quiet small"));
  lost = true;
  clearTimeout(again);
  again = setTimeout(sendAgain, pause * 1000);
  pause = Math.min(30, pause * 2);
}

function sendAgain() {
  clearTimeout(again);
  turn = turn.then(async () => {
    for (const [path, fields] of kept()) {
      try {
        const { undo } = await post(`${path}/decide`, fields);
        arrived(path);
        last = fields.outcome === "skip" ? null : path;
        if (location.pathname === path) await goOn();
        done(fields.outcome, undo);
      } catch (error) {
        if (!isAnswer(error)) return notSent(error);
        arrived(path);
        if (location.pathname === path) tell(error);
        else toast(error.told.message, 30);
      }
    }
    return undefined;
  });
}

function arrived(path) {
  forget(path);
  pause = 1;
  lost = false;
  if (location.pathname === path) document.getElementById("said")?.replaceChildren();
}

async function adopt(decision) {
  const path = location.pathname;
  try {
    const { undo } = await post(`${path}/adopt`, { decision });
    last = path;
    await goOn();
    done("adopt", undo);
  } catch (error) {
    tell(error);
  }
}

async function takeBack() {
  const plain = document.querySelector("form[data-key=z] button");
  if (!last) return plain?.click();
  const path = last;
  try {
    await post(`${path}/undo`);
    last = null;
    show(await page(path));
    document.getElementById("toast").hidden = true;
  } catch (error) {
    if (error.told) last = null;
    toast(error.told?.message ?? say("away"));
  }
}

function press(key) {
  const figure = document.querySelector(".picture-main");
  if (key === "?") return document.getElementById("keys").showModal();
  if (key === "z") return takeBack();
  if (key === "n") return goOn();
  if (key === "x") return document.querySelector("form[data-key=x]")?.requestSubmit();
  if (key === "c") return document.querySelector("#decide [name=clause]")?.focus();
  if (key === "k") return document.querySelector("form[data-key=k]")?.requestSubmit();
  if (key === "f") return document.querySelector(".comparing")?.requestSubmit();
  if (KEYS[key] && document.getElementById("decide")) return decide(KEYS[key]);
  if (!figure) return undefined;
  if (key === " ") return figure.dataset.how === "whole" ? cover(figure) : uncover(figure, "whole");
  if (key === "p") return figure.dataset.how === "part" ? cover(figure) : uncover(figure, "part");
  if (key === "h") return figure.querySelector("[value=heat]")?.click();
  if (key === "," || key === ".") return step(figure, key === "." ? 1 : -1);
  return key === "l" ? uncover(figure, "blurred") : undefined;
}

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || document.getElementById("keys")?.open) return;
  const typing = event.target.matches("input, textarea, select");
  if (typing && event.key === "Escape") return event.target.blur();
  const onControl = event.key === " " && event.target.matches("button, a, summary");
  if (typing || onControl || event.repeat || ![...OTHERS, ...Object.keys(KEYS)].includes(event.key)) return;
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
  } else if (form.matches(".comparing")) {
    event.preventDefault();
    compare(form);
  } else if (form.dataset.key === "n" && here()) {
    event.preventDefault();
    goOn();
  }
});

async function renew() {
  const held = here();
  if (held?.dataset.held !== "yes" || sending) return;
  try {
    await post(`/app/cases/${held.dataset.case}/renew`, { token: held.dataset.token });
    const ahead = (next && (await next))?.main.querySelector("#case");
    if (ahead) await post(`/app/cases/${ahead.dataset.case}/renew`, { token: ahead.dataset.token });
  } catch (error) {
    if (error.told && here() === held) toast(say("lease"));
  }
}

addEventListener("popstate", () => location.reload());
addEventListener("online", sendAgain);
addEventListener("resting", async () => show(await page(location.pathname), "replaceState"));
addEventListener("beforeunload", (event) => { if (lost && kept().length) event.preventDefault(); });

addEventListener("pagehide", async () => {
  const ahead = (next && (await next))?.main.querySelector("#case");
  if (!ahead) return;
  const fields = new URLSearchParams({ csrf, token: ahead.dataset.token });
  navigator.sendBeacon(`/app/cases/${ahead.dataset.case}/release`, fields);
});

if (here()?.dataset.held === "yes") preload();
searchAlike();
if (kept().length) sendAgain();
setInterval(renew, Math.max(3, Number(here()?.dataset.lease ?? 300) / 3) * 1000);
