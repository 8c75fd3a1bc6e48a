// Decisions that the server has not answered yet, in this tab: they outlive a reload, and go with the tab. Each belongs to the
// person who made it, and is sent by nobody else who signs in here.

const NAME = "palisade-unsent";
const person = () => document.getElementById("toast").dataset.person;

const read = () => JSON.parse(sessionStorage.getItem(NAME) ?? "{}");
const write = (all) => (Object.keys(all).length ? sessionStorage.setItem(NAME, JSON.stringify(all)) : sessionStorage.removeItem(NAME));

// One of each case: a later choice takes the place of the one before.
export function keep(path, fields) {
  write({ ...read(), [path]: { person: person(), fields } });
}

export function forget(path) {
  const { [path]: _, ...rest } = read();
  write(rest);
}

export function kept() {
  return Object.entries(read()).filter(([, one]) => one.person === person()).map(([path, one]) => [path, one.fields]);
}
