"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const cards = [...document.querySelectorAll(".card")];
  const text = byId("filter-text"), recipe = byId("filter-recipe"), status = byId("filter-status");
  if (!cards.length) return;

  // What a card says, lower-cased once: its id, and each of its captions.
  const known = cards.map((card) => ({
    card,
    id: card.querySelector("h3").textContent.toLowerCase(),
    captions: [...card.querySelectorAll(".caption")].map((element) => ({
      element,
      recipe: element.dataset.recipe,
      status: element.dataset.status,
      text: element.textContent.toLowerCase(),
    })),
  }));

  const mark = (wanted) => {
    if (!("highlights" in CSS)) return;
    CSS.highlights.delete("found");
    if (wanted.length < 2) return;
    const ranges = [];
    for (const element of document.querySelectorAll(".card:not([hidden]) :is(.text, .chip, h3)")) {
      const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
      for (let node = walker.nextNode(); node; node = walker.nextNode()) {
        const said = node.data.toLowerCase();
        for (let at = said.indexOf(wanted); at >= 0; at = said.indexOf(wanted, at + wanted.length)) {
          // Lower case may be longer than what it was made from.
          if (at + wanted.length > node.length) break;
          const range = new Range();
          range.setStart(node, at);
          range.setEnd(node, at + wanted.length);
          ranges.push(range);
        }
      }
    }
    CSS.highlights.set("found", new Highlight(...ranges));
  };

  const apply = () => {
    const wanted = text.value.trim().toLowerCase();
    const filtered = Boolean(wanted || recipe.value || status.value);
    let shown = 0;
    for (const { card, id, captions } of known) {
      let visible = 0, said = id.includes(wanted);
      for (const each of captions) {
        const fits = (!recipe.value || each.recipe === recipe.value) &&
          (!status.value || each.status === status.value);
        each.element.hidden = !fits;
        visible += fits;
        said ||= fits && each.text.includes(wanted);
      }
      card.hidden = !(visible && said);
      shown += !card.hidden;
      for (const more of card.querySelectorAll("details.more")) {
        more.hidden = !more.querySelector(".caption:not([hidden])");
        if (filtered && !card.hidden) more.open = true;
      }
    }
    byId("shown").textContent = shown === cards.length
      ? `${shown} videos` : `${shown} of ${cards.length} videos`;
    byId("nothing").hidden = shown > 0;
    mark(wanted);
  };

  for (const control of [text, recipe, status]) control.addEventListener("input", apply);
  text.form.addEventListener("submit", (event) => event.preventDefault());
  byId("reset").addEventListener("click", () => { text.form.reset(); apply(); });

  byId("cards").addEventListener("click", (event) => {
    const target = byId(event.target.dataset?.target ?? "");
    if (!target) return;
    target.closest("details.more")?.setAttribute("open", "");
    target.scrollIntoView({ behavior: "smooth", block: "nearest" });
    for (const other of document.querySelectorAll(".caption.picked")) other.classList.remove("picked");
    target.classList.add("picked");
  });
  // A browser may keep what stood in the form when the page is loaded again.
  apply();
})();
