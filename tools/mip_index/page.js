"use strict";
(() => {
  const list = document.getElementById("packages");
  const box = document.getElementById("filter");
  const count = document.querySelector("output");
  const none = document.querySelector(".none");
  const items = Array.from(list.children);
  const texts = items.map((item) => item.firstChild.firstElementChild.textContent.toLowerCase());

  // Where the page is, the index is; a directory on a disk is none that a board can reach.
  const here = /^https?:$/.test(location.protocol) ? new URL(".", location.href).href.replace(/\/$/, "") : null;
  const place = (element) => {
    for (const url of here ? element.querySelectorAll(".url") : []) url.textContent = here;
  };
  place(document.querySelector("header"));

  const filter = () => {
    const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
    const shown = items.filter((item, number) => words.every((word) => texts[number].includes(word)));
    // To hide thousands of items one by one takes Chromium seconds.
    list.replaceChildren(...shown);
    const [some, all] = [shown, items].map((each) => each.length.toLocaleString("en"));
    count.textContent = words.length ? `${some} of ${all}` : "";
    none.hidden = shown.length > 0;
  };
  box.parentElement.hidden = false;
  box.addEventListener("input", filter);
  if (box.value) filter();  // it is kept when the page is loaded again

  const copy = async (text) => {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      // Without TLS there is no clipboard but that of what is selected.
      const area = document.createElement("textarea");
      area.value = text;
      document.body.append(area);
      area.select();
      const done = document.execCommand("copy");
      area.remove();
      if (!done) throw new Error("not copied");
    }
  };

  // A package gets its buttons when it is opened: thousands of them would take their time.
  list.addEventListener("toggle", (event) => {
    const details = event.target;
    if (!details.open || details.dataset.ready) return;
    details.dataset.ready = "1";
    place(details);
    for (const line of details.querySelectorAll(".line")) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = "Copy";
      button.addEventListener("click", async () => {
        try {
          await copy(line.firstElementChild.textContent);
          button.textContent = "Copied";
        } catch {
          button.textContent = "Select it";
        }
        setTimeout(() => { button.textContent = "Copy"; }, 1500);
      });
      line.append(button);
    }
  }, true);
})();
