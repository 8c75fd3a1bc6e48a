// What the reviewers' scripts share: asking the server, and telling the person.

export const csrf = document.querySelector("meta[name=csrf]").content;

let fading = 0;

export const here = () => document.getElementById("case");
export const say = (id) => document.getElementById("toast").dataset[id];

// Gives the answer; throws an error with `told`, which is what the server refused, or without, where it did not answer.
export async function post(path, fields = {}) {
  const answer = await fetch(path, {
    method: "POST", body: new URLSearchParams(fields), headers: { "X-CSRF-Token": csrf, Accept: "application/json" },
  });
  const body = await answer.json().catch(() => null);
  if (answer.ok && body) return body;
  throw Object.assign(new Error(path), { told: body?.error, late: body?.late, status: answer.status });
}

export function button(words, act, look = "small") {
  const made = document.createElement("button");
  made.className = look;
  made.textContent = words;
  made.addEventListener("click", act);
  return made;
}

export function toast(text, seconds = 6, ...more) {
  const place = document.getElementById("toast");
  place.replaceChildren(text, ...more);
  place.hidden = false;
  clearTimeout(fading);
  fading = setTimeout(() => { place.hidden = true; }, seconds * 1000);
}

export function problem({ message, hint = "" }, ...more) {
  const place = document.createElement("p");
  place.className = "status bad problem";
  place.setAttribute("role", "alert");
  const about = document.createElement("span");
  about.className = "hint";
  about.textContent = hint;
  place.append(message, about, ...more);
  document.getElementById("said")?.replaceChildren(place);
  place.scrollIntoView({ block: "nearest" });
}
