"use strict";
// Without it all pages work; with it they say times where the reader is, and follow what happens.
(() => {
  const LEAST = 1000, OFTEN = 30000, PATIENCE = 3000;
  const $ = (id) => document.getElementById(id);

  // Times: UTC by the server, local here, UTC when pointed at.
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
      if (Number.isNaN(date.getTime())) continue;
      time.title = `${time.dateTime.replace("T", " ").replace("Z", "")} UTC`;
      time.textContent = tell(date);
    }
    for (const place of within.querySelectorAll("[data-zone]")) place.textContent = `${zone} (UTC when pointed at)`;
  };

  // Queries mean the reader's own times.
  for (const given of document.querySelectorAll("form.query input[name=tz]")) {
    if (!given.value && zone) [given.value, given.disabled] = [zone, false];
  }
  document.addEventListener("keydown", (event) => {
    const field = event.target.closest("input, textarea, select, [contenteditable]");
    if (event.key === "/" && !field && !event.ctrlKey && !event.metaKey && !event.altKey && $("q")) {
      event.preventDefault();
      $("q").select();
    }
    if (event.key === "Escape") {
      for (const menu of document.querySelectorAll("details.me[open]")) {
        menu.open = false;
        menu.querySelector("summary").focus();
      }
      if (event.target === $("q")) $("q").blur();
    }
  });
  document.addEventListener("click", (event) => {
    for (const menu of document.querySelectorAll("details.me[open]")) if (!menu.contains(event.target)) menu.open = false;
  });

  // What is there is exchanged as a whole; what the reader has opened, or stands on, stays.
  const say = (row) => row.querySelector(".how, .sub")?.textContent.replace(/[\d:]+/g, "") ?? "";
  const exchange = (found) => {
    const old = document.querySelector("main"), next = document.adoptNode(found.querySelector("main"));
    localize(next);
    if (old.innerHTML === next.innerHTML) return;
    const focused = old.contains(document.activeElement) ? document.activeElement : null;
    const row = focused?.closest("[id]");
    const href = focused?.getAttribute("href"), id = focused?.id;
    const open = new Set([...old.querySelectorAll("details[open][id]")].map((one) => one.id));
    for (const one of next.querySelectorAll("details[id]")) one.open = open.has(one.id);
    for (const one of next.querySelectorAll("tr[id], .bad li[id]")) {
      const before = $(one.id);
      if (!before || say(before) !== say(one)) one.classList.add("new");
    }
    const sentence = $("sentence"), said = next.querySelector("#sentence");
    // A live region is read out where it stays and its words change.
    if (sentence && said) {
      if (sentence.textContent !== said.textContent) sentence.textContent = said.textContent;
      said.replaceWith(sentence);
    }
    const across = old.querySelector(".list")?.scrollLeft ?? 0;
    old.replaceWith(next);
    if (next.querySelector(".list")) next.querySelector(".list").scrollLeft = across;
    document.title = found.title;
    const again = (id && $(id)) || (href && [...((row && $(row.id)) || next).querySelectorAll("a")].find((one) => one.getAttribute("href") === href));
    (again || (focused && next))?.focus({ preventScroll: true });
  };

  // Somebody types, or looks at a picture that has a script of its own: nothing is taken from them.
  const busy = () => document.activeElement?.matches("main input") || $("end")?.open || document.querySelector("[data-still], .plot.moving");
  let last = Date.now(), timer = null, asking = false, lost = null;
  const later = () => {
    if (timer === null && !document.hidden) timer = setTimeout(ask, Math.max(0, last + LEAST - Date.now()));
  };
  const ask = async () => {
    timer = null;
    if (asking || document.hidden || busy()) return;
    asking = true;
    last = Date.now();
    const here = location.href;
    try {
      const answer = await fetch(here, { headers: { accept: "text/html" } });
      const found = new DOMParser().parseFromString(await answer.text(), "text/html");
      // Gone to another view meanwhile, or about to type: that counts.
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
    live.title = there ? "This page follows what happens" : "The server does not answer; this page is as it was, and goes on by itself";
  };

  let stream = null, instance = null, retry = null;
  const follow = () => {
    if (stream || document.hidden || !$("live")) return;
    stream = new EventSource("/api/v1/stream");
    stream.addEventListener("hello", (event) => {
      let told = {};
      try { told = JSON.parse(event.data); } catch { /* of another version */ }
      const known = told.server_instance ?? told.instance ?? "";
      // Behind each pause something may have been missed.
      if (instance !== null) later();
      instance = known;
      mark(true);
    });
    stream.addEventListener("changes", later);
    stream.addEventListener("missed", later);
    stream.onerror = () => {
      if (lost === null) lost = setTimeout(() => mark(false), PATIENCE);
      // A browser gives up for good where the answer is no stream: a server that starts, a proxy.
      if (stream.readyState === EventSource.CLOSED) {
        stream = null;
        clearTimeout(retry);
        retry = setTimeout(() => { later(); follow(); }, PATIENCE);
      }
    };
  };
  const leave = () => {
    stream?.close();
    stream = null;
    clearTimeout(timer);
    timer = null;
  };
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) return leave();
    later();
    follow();
  });
  addEventListener("pagehide", leave);
  addEventListener("pageshow", (event) => { if (event.persisted) { later(); follow(); } });
  setInterval(() => { if ($("live")) later(); }, OFTEN);

  localize(document);
  follow();
})();
