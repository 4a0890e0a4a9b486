"use strict";
// Pages work without it; with it they say times where the reader is, and follow what happens.
(() => {
  const LEAST = 600, OFTEN = 30000, TYPED = 150, PATIENCE = 3000, MENU = "details.me[open]";
  const $ = (id) => document.getElementById(id);

  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const two = (number) => String(number).padStart(2, "0");
  const tell = (date) => {
    const now = new Date(), clock = `${two(date.getHours())}:${two(date.getMinutes())}`;
    if (date.toDateString() === now.toDateString()) return clock;
    const month = date.toLocaleString("en", { month: "short" });
    const year = date.getFullYear() === now.getFullYear() ? "" : ` ${date.getFullYear()}`;
    return `${date.getDate()} ${month}${year} ${clock}`;
  };
  const localize = (within) => {
    for (const time of within.querySelectorAll("time[datetime]")) {
      const date = new Date(time.dateTime);
      time.title = `${time.dateTime.replace("T", " ").replace("Z", "")} UTC`;
      time.textContent = tell(date);
    }
    for (const place of within.querySelectorAll("[data-zone]")) place.textContent = `${zone} (UTC when pointed at)`;
  };

  for (const given of document.querySelectorAll("form.query input[name=tz]")) {
    if (!given.value && zone) [given.value, given.disabled] = [zone, false];
  }
  // What the query may go on as, in the place of the keys that stand there without.
  let pause = null, completing = null;
  $("q")?.addEventListener("input", ({ target }) => {
    clearTimeout(pause);
    completing?.abort();
    pause = setTimeout(async () => {
      if (document.hidden || $("live").matches(".off")) return;
      completing = new AbortController();
      try {
        const asked = `/api/v1/complete?query=${encodeURIComponent(target.value)}`;
        const answer = await fetch(asked, { signal: completing.signal });
        if (!answer.ok) return;
        const { completions } = await answer.json();
        $("keys").replaceChildren(...completions.map(({ query, tells }) => new Option(tells, query)));
      } catch {
        // Another question came, or the server is away: the list stays as it is.
      }
    }, TYPED);
  });
  document.addEventListener("keydown", (event) => {
    const field = event.target.closest("input, textarea, select, [contenteditable]");
    if (event.key === "/" && !field && !event.ctrlKey && !event.metaKey && $("q")) {
      event.preventDefault();
      $("q").select();
    }
    const menu = event.key === "Escape" && document.querySelector(MENU);
    if (menu) {
      menu.open = false;
      menu.firstElementChild.focus();
    }
  });
  document.addEventListener("click", (event) => {
    const menu = document.querySelector(MENU);
    if (menu && !menu.contains(event.target)) menu.open = false;
  });

  // <main> is exchanged; what the reader has opened, or stands on, stays.
  const say = (row) => row.querySelector(".how, .sub")?.textContent.replace(/[\d:]+/g, "") ?? "";
  const exchange = (found) => {
    const old = document.querySelector("main"), next = document.adoptNode(found.querySelector("main"));
    localize(next);
    if (old.innerHTML === next.innerHTML) return;
    const focused = old.contains(document.activeElement) && document.activeElement;
    const row = focused && focused.closest("[id]"), href = focused && focused.getAttribute("href"), id = focused.id || "-";
    const open = new Set([...old.querySelectorAll("details[open][id]")].map((one) => one.id));
    for (const one of next.querySelectorAll("details[id]")) one.open = open.has(one.id);
    for (const one of next.querySelectorAll("tr[id], .bad li[id]")) {
      const before = $(one.id);
      if (!before || say(before) !== say(one)) one.classList.add("new");
    }
    const sentence = $("sentence"), said = next.querySelector("#sentence");
    if (sentence && said) {
      if (sentence.textContent !== said.textContent) sentence.textContent = said.textContent;
      said.replaceWith(sentence);
    }
    const across = old.querySelector(".list")?.scrollLeft;
    old.replaceWith(next);
    next.querySelector(".list")?.scrollTo(across ?? 0, 0);
    document.title = found.title;
    if (!focused) return;
    const links = ((row && $(row.id)) || next).querySelectorAll("a");
    const again = $(id) || [...links].find((one) => one.getAttribute("href") === href) || next;
    again.focus({ preventScroll: true });
  };

  // Nothing is taken from who types, or moves a picture.
  const busy = () => document.activeElement?.matches("main input") || $("end")?.open || document.querySelector(".moving");
  let last = Date.now(), timer = null, asking = false, lost = null;
  const later = () => {
    if (timer === null && !document.hidden) timer = setTimeout(ask, Math.max(0, last + LEAST - Date.now()));
  };
  const ask = async () => {
    timer = null;
    if (asking || document.hidden || busy()) return;
    asking = true;
    last = Date.now();
    try {
      const here = location.href;
      const answer = await fetch(here, { headers: { accept: "text/html" } });
      const found = new DOMParser().parseFromString(await answer.text(), "text/html");
      if (here !== location.href || busy() || !found.querySelector("main")) return;
      if (answer.status === 401) return location.reload();
      if (answer.status < 500) exchange(found);
      mark(answer.status < 500);
    } catch {
      mark(false);
    } finally {
      asking = false;
    }
  };

  const mark = (there) => {
    const live = $("live");
    clearTimeout(lost);
    lost = null;
    if (!live) return;
    live.hidden = false;
    live.classList.toggle("off", !there);
    live.lastElementChild.textContent = there ? "live" : "offline";
    live.title = there ? "" : "The server does not answer; this goes on by itself";
  };

  let stream = null, followed = false, retry = null;
  const follow = () => {
    if (stream || document.hidden || !$("live")) return;
    stream = new EventSource("/api/v1/stream");
    stream.addEventListener("hello", () => {
      // A pause may have missed something.
      if (followed) later();
      followed = true;
      mark(true);
    });
    stream.addEventListener("changes", later);
    stream.addEventListener("missed", later);
    stream.onerror = () => {
      if (lost === null) lost = setTimeout(() => mark(false), PATIENCE);
      // It gives up if that is no stream.
      if (stream.readyState === EventSource.CLOSED) {
        stream = null;
        clearTimeout(retry);
        retry = setTimeout(come, PATIENCE);
      }
    };
  };
  const leave = () => {
    stream?.close();
    clearTimeout(timer);
    stream = timer = null;
  };
  const come = () => { later(); follow(); };
  document.addEventListener("visibilitychange", () => (document.hidden ? leave() : come()));
  addEventListener("pagehide", leave);
  addEventListener("pageshow", (event) => event.persisted && come());
  setInterval(() => { if ($("live")) later(); }, OFTEN);

  localize(document);
  follow();
})();
