// What makes a page live. Every page works without it.
//
// The page is read again when the live feed says that something on it changed, and every so many seconds, since signs of
// life alone move its times and tell nobody. Sections marked `data-swap` are replaced if they changed; rows of a table
// marked `data-keyed` are replaced one by one and never move: what would join or leave is counted in a banner.
"use strict";
(() => {
  const body = document.body;
  const told = document.getElementById("told");
  const liveness = document.getElementById("liveness");
  // Between two readings, in milliseconds: of what is looked at, and of what would join or leave.
  const GAP = 1000;
  const FAR_GAP = 5000;
  let offset = Number(body.dataset.now) - Date.now();
  let reading = false;
  let wanted = false;
  let timer = 0;
  let due = 0;
  let last = 0;

  // An address without a user and a password: browsers read none that has them.
  const plain = (address) => {
    const url = new URL(address, location.href);
    url.username = url.password = url.hash = "";
    return url;
  };

  // ---- times ----

  // The same words as the server's.
  const ago = (millis) => {
    const seconds = Math.floor(millis / 1000);
    const long = Math.abs(seconds);
    if (long < 5) return "just now";
    const length =
      long < 60 ? `${long} s`
      : long < 5400 ? `${Math.floor(long / 60)} min`
      : long < 172800 ? `${Math.floor(long / 3600)} h`
      : `${Math.floor(long / 86400)} d`;
    return seconds < 0 ? `in ${length}` : `${length} ago`;
  };
  const tick = () => {
    const now = Date.now() + offset;
    for (const span of document.querySelectorAll(".ago[data-at]")) {
      const text = ago(now - Number(span.dataset.at));
      if (span.textContent !== text) span.textContent = text;
    }
  };
  setInterval(tick, 1000);

  // ---- putting a page that was read in the place of this one ----

  // Two versions of a section, apart from words that merely count time.
  const face = (element) => {
    const copy = element.cloneNode(true);
    for (const span of copy.querySelectorAll(".ago")) span.textContent = "";
    copy.classList.remove("fresh", "gone");
    return copy.outerHTML;
  };
  // What is being typed is left alone.
  const isBeingEdited = (section) =>
    [...section.querySelectorAll("input:not([type=hidden])")].some((field) => field.value !== field.defaultValue);
  const swap = (old, fresh) => {
    const focused = old.contains(document.activeElement) ? document.activeElement : null;
    const places = focused ? [...old.querySelectorAll(focused.tagName)] : [];
    const place = places.indexOf(focused);
    const node = document.importNode(fresh, true);
    old.replaceWith(node);
    if (!focused) return node;
    // By its id, or by its place among its like.
    const again = (focused.id && document.getElementById(focused.id)) || node.querySelectorAll(focused.tagName)[place];
    if (again) again.focus({ preventScroll: true });
    return node;
  };
  const swapRows = (rows, fresh) => {
    const newer = new Map([...fresh.rows].map((row) => [row.id, row]));
    let left = 0;
    for (const row of [...rows.rows]) {
      const now = newer.get(row.id);
      if (!now) {
        left += 1;
        row.classList.add("gone");
        continue;
      }
      newer.delete(row.id);
      row.classList.remove("gone");
      if (face(row) !== face(now)) swap(row, now).classList.add("fresh");
    }
    return [newer.size, left];
  };
  const put = (page) => {
    offset = Number(page.body.dataset.now) - Date.now();
    for (const old of document.querySelectorAll("[data-swap]")) {
      const fresh = page.getElementById(old.id);
      if (!fresh || face(old) === face(fresh)) continue;
      if (!isBeingEdited(old)) swap(old, fresh);
    }
    let joined = 0;
    let left = 0;
    for (const rows of document.querySelectorAll("main > table tbody[data-keyed]")) {
      const fresh = page.querySelector("main > table tbody[data-keyed]");
      const [more, less] = fresh ? swapRows(rows, fresh) : [0, rows.rows.length];
      joined += more;
      left += less;
    }
    if (!document.querySelector("main > table tbody[data-keyed]")) {
      joined = page.querySelectorAll("main > table tbody[data-keyed] > tr").length;
    }
    banner(joined, left);
    tick();
  };
  const banner = (joined, left) => {
    const place = document.getElementById("banner");
    if (!place) return;
    const said = [joined && `${joined} would join`, left && `${left} would leave`].filter(Boolean).join(", ");
    if (said === (place.dataset.said || "")) return;
    place.dataset.said = said;
    place.hidden = !said;
    place.replaceChildren();
    if (!said) return;
    const link = document.createElement("a");
    link.href = location.href;
    link.textContent = "Read the list again";
    place.append(`The list changed: ${said}. `, link);
  };

  // ---- reading it again ----

  const live = (isWell, text) => {
    if (!liveness) return;
    liveness.hidden = false;
    liveness.classList.toggle("broken", !isWell);
    liveness.lastElementChild.textContent = text;
  };
  const read = async () => {
    if (reading) {
      wanted = true;
      return;
    }
    reading = true;
    wanted = false;
    last = Date.now();
    try {
      const answer = await fetch(plain(location.href), { headers: { accept: "text/html" }, cache: "no-store" });
      if (answer.ok) {
        put(new DOMParser().parseFromString(await answer.text(), "text/html"));
        if (!body.dataset.stream) live(true, "Live");
      } else live(false, `Not live: the service answered ${answer.status}`);
    } catch {
      live(false, "Not live: the service does not answer");
    }
    reading = false;
    if (wanted) soon();
  };
  // What is due sooner stays so: a busy fleet must not put it off for ever.
  const soon = (gap = GAP) => {
    const at = Math.max(Date.now() + 150, last + gap);
    if (due && due <= at) return;
    due = at;
    clearTimeout(timer);
    timer = setTimeout(() => {
      due = 0;
      read();
    }, at - Date.now());
  };

  // ---- the live feed ----

  let feed = null;
  // How soon what happened calls for another reading; 0: not at all.
  const gapFor = (name, data) => {
    const list = document.getElementById("banner");
    if (!list || !data.told) return GAP;
    if (list.dataset.told) return data.told.some((one) => one.kind === list.dataset.told) ? GAP : 0;
    const id = data.device ? data.device.deviceId : data.deviceId;
    if ([...document.querySelectorAll("main > table tr[data-id]")].some((row) => row.dataset.id === id)) return GAP;
    return data.isNew || name !== "device" ? FAR_GAP : 0;
  };
  const listen = () => {
    if (feed || !body.dataset.stream) return;
    feed = new EventSource(plain(body.dataset.stream));
    feed.onopen = () => live(true, "Live");
    feed.onerror = () => live(false, "Not live: connecting again");
    const changed = (event) => {
      const gap = gapFor(event.type, JSON.parse(event.data));
      if (gap) soon(gap);
    };
    for (const name of ["device", "left", "deleted", "reset", "bye"]) feed.addEventListener(name, changed);
  };
  // Browsers open few connections to one place: a page that nobody sees gives its own back.
  const attend = () => {
    if (document.hidden) {
      if (feed) feed.close();
      feed = null;
    } else {
      listen();
      soon();
    }
  };
  if (body.dataset.seconds) {
    listen();
    document.addEventListener("visibilitychange", attend);
    addEventListener("pagehide", () => feed && feed.close());
    setInterval(() => document.hidden || soon(), Number(body.dataset.seconds) * 1000);
  }

  // ---- commands without leaving the page ----

  const say = (text, tone) => {
    told.className = `told ${tone}`;
    told.textContent = text;
  };
  document.addEventListener("submit", async (event) => {
    const form = event.target;
    if (form.method !== "post") return;
    event.preventDefault();
    const button = event.submitter;
    if (button && button.getAttribute("aria-disabled") === "true") return;
    if (button) button.setAttribute("aria-disabled", "true");
    const fields = new URLSearchParams(new FormData(form, button));
    try {
      const answer = await fetch(plain(form.action), { method: "post", body: fields, headers: { accept: "text/html" } });
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      if (answer.ok) {
        const isHere = new URL(answer.url).pathname === location.pathname;
        const notice = page.querySelector("main > .notice.good");
        say(notice ? notice.textContent : "Done.", "good");
        form.reset();
        // The page as it is looked at may have other filters than the one that answers.
        if (isHere && !location.search) put(page);
        else await read();
      } else {
        const why = page.getElementById("detail");
        say(why ? why.textContent : `It was refused (${answer.status}).`, "bad");
      }
    } catch {
      say("The service does not answer: nothing is known of the command. Look again in a while.", "bad");
    }
    if (button) button.removeAttribute("aria-disabled");
  });

  // ---- tips ----

  // Escape hides a tip, another tap too.
  document.addEventListener("keydown", (event) => {
    const sign = document.activeElement;
    if (event.key === "Escape" && sign && sign.classList.contains("sign")) sign.classList.add("quiet");
  });
  document.addEventListener("focusout", (event) => {
    if (event.target.classList && event.target.classList.contains("sign")) event.target.classList.remove("quiet");
  });

  // A list is asked without the fields that say nothing.
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.method !== "get") return;
    for (const field of form.elements) if (field.name && !field.value) field.disabled = true;
  });
})();
