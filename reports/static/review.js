(() => {
  "use strict";
  const byId = (id) => document.getElementById(id);
  const data = JSON.parse(byId("data").textContent);
  const { items } = data;
  const storeKey = `muster-review-${data.sheet}`;
  const choices = data.passFail
    ? [["pass", "Pass", "p"], ["fail", "Fail", "f"]]
    : Array.from({ length: data.high - data.low + 1 }, (_, i) => [data.low + i, String(data.low + i), String(data.low + i)]);

  /** Item id to {rating, note}; what is not rated has no entry, or a null rating beside a note. */
  let said = {};
  let at = 0;

  const make = (tag, attributes, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  };

  // ------------------------------------------------------------------------------------------------ keeping progress

  const save = () => {
    try {
      localStorage.setItem(storeKey, JSON.stringify({ said, at }));
    } catch {
      byId("unsaved").hidden = false;
    }
  };
  const restore = () => {
    try {
      const kept = JSON.parse(localStorage.getItem(storeKey) ?? "{}");
      for (const item of items) {
        const entry = kept.said?.[item.id];
        if (!entry || typeof entry !== "object") continue;
        const known = choices.some(([value]) => value === entry.rating);
        said[item.id] = { rating: known ? entry.rating : null, note: typeof entry.note === "string" ? entry.note : "" };
      }
      if (Number.isInteger(kept.at) && items[kept.at]) at = kept.at;
      localStorage.setItem(storeKey, JSON.stringify({ said, at }));
    } catch {
      byId("unsaved").hidden = false;
    }
  };

  // ------------------------------------------------------------------------------------------------ showing

  const entry = (item) => said[item.id] ?? { rating: null, note: "" };
  const rated = () => items.filter((item) => entry(item).rating !== null).length;
  const part = (title, texts, extra = "") => {
    const shown = texts.filter((text) => text !== "");
    const paragraphs = shown.map((text) => make("p", { class: "text", dir: "auto" }, text));
    return make("section", { class: extra }, make("h2", {}, title), ...(paragraphs.length ? paragraphs : [make("p", { class: "muted" }, "(empty)")]));
  };
  const show = () => {
    const item = items[at];
    const parts = [part("Input", [item.input])];
    if (item.context) parts.push(part("Context", item.context));
    if (item.reference) parts.push(part("Reference", item.reference));
    parts.push(part("Answer", [item.answer], "answer"));
    byId("item").replaceChildren(...parts);
    byId("item").dataset.item = item.id;
    byId("where").textContent = `${at + 1} of ${items.length} · ${rated()} rated`;
    byId("progress").value = rated();
    byId("back").disabled = at === 0;
    byId("next").disabled = at === items.length - 1;
    byId("note").value = entry(item).note;
    for (const button of byId("scale").children) {
      button.setAttribute("aria-pressed", String(button.dataset.value === String(entry(item).rating)));
    }
  };
  const go = (to) => {
    if (!items[to]) return;
    at = to;
    save();
    show();
    window.scrollTo({ top: 0 });
  };
  const put = (change) => {
    const item = items[at];
    said[item.id] = { ...entry(item), ...change };
    save();
  };
  const rate = (value) => {
    put({ rating: value });
    show();
    if (value !== null) go(at + 1);
  };
  const unrated = () => {
    for (let step = 1; step <= items.length; step += 1) {
      const to = (at + step) % items.length;
      if (entry(items[to]).rating === null) return go(to);
    }
  };

  // ------------------------------------------------------------------------------------------------ giving back

  const cell = (value) => {
    let text = value === null ? "" : String(value);
    if (/^[=+\-@\t\r\n]/.test(text)) text = `'${text}`;
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  const lines = () => items.map((item) => ({ sheet: data.sheet, item: item.id, ...entry(item) }));
  const asCsv = () =>
    ["sheet,item,rating,note", ...lines().map((row) => [row.sheet, row.item, row.rating, row.note].map(cell).join(","))]
      .map((line) => `${line}\r\n`)
      .join("");
  const asJsonl = () => lines().map((row) => `${JSON.stringify(row)}\n`).join("");
  const download = (text, type, ending) => {
    const url = URL.createObjectURL(new Blob([text], { type }));
    const link = make("a", { href: url, download: `ratings-${data.sheet}.${ending}` });
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(url), 60_000);
  };

  // ------------------------------------------------------------------------------------------------ controls

  for (const [value, text, key] of choices) {
    const button = make("button", { type: "button", "data-value": String(value), "aria-pressed": "false" }, text);
    if (data.passFail) button.append(" ", make("kbd", {}, key));
    button.addEventListener("click", () => rate(entry(items[at]).rating === value ? null : value));
    byId("scale").append(button);
  }
  byId("back").addEventListener("click", () => go(at - 1));
  byId("next").addEventListener("click", () => go(at + 1));
  byId("note").addEventListener("input", (event) => put({ note: event.target.value }));
  byId("csv").addEventListener("click", () => download(asCsv(), "text/csv", "csv"));
  byId("jsonl").addEventListener("click", () => download(asJsonl(), "application/jsonl", "jsonl"));
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest("textarea")) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    const chosen = choices.find(([, , key]) => key === event.key);
    const actions = {
      j: () => go(at + 1),
      k: () => go(at - 1),
      u: unrated,
      n: () => byId("note").focus(),
      Backspace: () => rate(null),
    };
    const action = chosen ? () => rate(chosen[0]) : actions[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  });

  restore();
  byId("app").hidden = false;
  show();
  document.documentElement.classList.add("ready");
})();
