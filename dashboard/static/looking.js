// Looking at pictures: pixels are asked for only after the look was noted, and a part goes when the pointer does.

import { here, post, problem, say } from "./talk.js";

const STILL = 180; // milliseconds that the pointer rests on a field before it is looked at
const LEAST = 480; // pixels that a picture is as if wide while a part of it is seen

let rested = ""; // where the pointer was last
let peek = null; // the part under the pointer: its figure and field, and its picture once it is there

const of = (figure) => `/app/cases/${here().dataset.case}/image?sha256=${figure.dataset.sha256}`;

async function noted(path, fields) {
  try {
    const { uncovered } = await post(`/app/cases/${here().dataset.case}/${path}`, fields);
    const seen = document.getElementById("seen");
    if (seen) seen.textContent = uncovered;
    return true;
  } catch (error) {
    if (error.told?.code === "resting") dispatchEvent(new CustomEvent("resting"));
    else problem(error.told ?? { message: say("unseen") });
    return false;
  }
}

export async function uncover(figure, how) {
  endPeek();
  if (!(await noted("reveal", { sha256: figure.dataset.sha256, how }))) return;
  figure.dataset.how = how;
  figure.querySelector("img").src = `${of(figure)}&reveal=${how}`;
}

export function cover(figure) {
  figure.dataset.how = "";
  frameAt(figure, 0);
  figure.querySelector("img").src = of(figure);
}

// An animation never moves: another frame is shown when it is asked for, of a picture that is uncovered as a whole.
export function step(figure, by) {
  if (figure.dataset.how !== "whole" || figure.dataset.stills < 2) return;
  const stills = Number(figure.dataset.stills), frame = (Number(figure.dataset.frame) + by + stills) % stills;
  frameAt(figure, frame);
  figure.querySelector("img").src = `${of(figure)}&reveal=whole&frame=${frame}`;
}

function frameAt(figure, frame) {
  figure.dataset.frame = frame;
  const at = figure.querySelector(".frames b");
  if (at) at.textContent = frame + 1;
}

export async function compare(form) {
  const match = form.closest(".match"), boxes = [...match.querySelectorAll(".beside-box")];
  if (match.dataset.shown === "yes") {
    match.dataset.shown = "";
    return boxes.forEach((box) => box.replaceChildren(box.dataset.words));
  }
  const { sha256, enrolled } = match.dataset;
  if (!(await noted("faces", { sha256, enrolled }))) return undefined;
  match.dataset.shown = "yes";
  return boxes.forEach((box, place) => {
    const image = document.createElement("img");
    image.alt = box.nextElementSibling.textContent;
    image.src = `/app/cases/${here().dataset.case}/${place ? "reference" : "face"}?sha256=${sha256}&enrolled=${enrolled}`;
    box.dataset.words ??= box.textContent;
    box.replaceChildren(image);
  });
}

// What is like the image is searched for beside the page, which does not wait for it.
export async function searchAlike() {
  const place = document.getElementById("alike");
  if (!place || place.dataset.there) return;
  place.dataset.there = "asked";
  const answer = await fetch(place.dataset.path).catch(() => null);
  if (!answer?.ok) return void delete place.dataset.there;
  const parsed = new DOMParser().parseFromString(await answer.text(), "text/html");
  place.replaceChildren(...parsed.body.childNodes);
  place.dataset.there = "yes";
}

function startPeek(figure, field, wait) {
  endPeek();
  const mine = (peek = { figure, field });
  mine.timer = setTimeout(async () => {
    const allowed = await noted("reveal", { sha256: figure.dataset.sha256, how: "part", part: field });
    if (allowed && peek === mine) drawPeek(mine);
  }, wait);
}

// The field stays where it is; of a small picture it is drawn larger, around its own middle.
function drawPeek(mine) {
  const { figure, field } = mine, column = field % 3, row = Math.floor(field / 3);
  const box = figure.querySelector("img").getBoundingClientRect(), base = figure.getBoundingClientRect();
  const scale = Math.max(1, LEAST / box.width), third = (place) => `${(place * 100) / 3}%`;
  mine.image = document.createElement("img");
  mine.image.className = "peek";
  mine.image.alt = "";
  mine.image.src = `${of(figure)}&reveal=part&part=${field}`;
  Object.assign(mine.image.style, {
    width: `${box.width * scale}px`,
    height: `${box.height * scale}px`,
    left: `${box.left - base.left - ((column + 0.5) / 3) * box.width * (scale - 1)}px`,
    top: `${box.top - base.top - ((row + 0.5) / 3) * box.height * (scale - 1)}px`,
    clipPath: `inset(${third(row)} ${third(2 - column)} ${third(2 - row)} ${third(column)})`,
  });
  figure.append(mine.image);
}

function endPeek() {
  clearTimeout(peek?.timer);
  peek?.image?.remove();
  peek = null;
}

function fieldAt(event) {
  const figure = event.target.closest?.(".frame")?.closest("figure");
  if (figure?.dataset.hover !== "yes" || !["", "part"].includes(figure.dataset.how)) return null;
  const box = figure.querySelector("img").getBoundingClientRect();
  const place = (share) => Math.min(2, Math.max(0, Math.floor(share * 3)));
  const column = place((event.clientX - box.left) / box.width), row = place((event.clientY - box.top) / box.height);
  return { figure, field: row * 3 + column };
}

document.addEventListener("pointermove", (event) => {
  if (event.pointerType !== "mouse") return;
  const before = rested;
  rested = `${event.screenX} ${event.screenY}`;
  if (!before || before === rested) return; // the page moved under the pointer: nobody asked to see what is there now
  const over = fieldAt(event);
  if (!over) return endPeek();
  if (peek?.figure !== over.figure || peek.field !== over.field) startPeek(over.figure, over.field, STILL);
});

// A finger looks for as long as it presses.
document.addEventListener("pointerdown", (event) => {
  const over = event.pointerType === "mouse" ? null : fieldAt(event);
  if (over) startPeek(over.figure, over.field, 0);
});

for (const leaves of ["pointerup", "pointercancel"]) {
  document.addEventListener(leaves, (event) => { if (event.pointerType !== "mouse") endPeek(); });
}
document.documentElement.addEventListener("pointerleave", endPeek);
document.addEventListener("visibilitychange", endPeek);
addEventListener("blur", endPeek);
addEventListener("scroll", endPeek, { passive: true });

// Neither event bubbles.
for (const [event, lost] of [["error", true], ["load", false]]) {
  document.addEventListener(event, ({ target }) => {
    const figure = target.matches?.(".frame img") && target.closest("figure");
    if (!figure) return;
    figure.querySelector(".frame").hidden = lost;
    figure.querySelector(".unshown").hidden = !lost;
  }, true);
}

document.addEventListener("click", (event) => {
  const link = event.target.closest(".frames [data-step]");
  if (!link) return;
  event.preventDefault();
  step(link.closest("figure"), Number(link.dataset.step));
});
