"use strict";
(() => {
  const film = document.getElementById("film");
  const curve = document.getElementById("curve");
  const playhead = document.getElementById("playhead");
  const readout = document.getElementById("readout");
  const shots = [...document.querySelectorAll("a[data-shot]")];
  const starts = shots.map((link) => Number(link.dataset.seconds));
  const begin = Number(curve.dataset.start), length = Number(curve.dataset.length);
  let here = 0, playing = -1, hasFilm = true;

  const at = (seconds) => {
    let low = 0, high = starts.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (starts[middle] <= seconds + 1e-4) low = middle; else high = middle - 1;
    }
    return low;
  };
  const clock = (seconds) => {
    const whole = Math.floor(seconds), two = (n) => String(n).padStart(2, "0");
    const hours = Math.floor(whole / 3600), minutes = Math.floor(whole / 60) % 60;
    return hours ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
  };
  const describe = (number) => {
    const scene = shots[number].closest(".scene").querySelector("h2").firstChild.textContent.trim();
    const level = shots[number].querySelector(".level").textContent;
    return `${scene}, shot ${number + 1}, ${clock(starts[number])}, ${level}`;
  };

  // One stop of the Tab key for all key-frames; the arrows move between them.
  const focus = (number, scroll = true) => {
    shots[here].tabIndex = -1;
    here = Math.max(0, Math.min(shots.length - 1, number));
    shots[here].tabIndex = 0;
    if (scroll) {
      shots[here].focus({ preventScroll: true });
      shots[here].closest(".shot").scrollIntoView({ block: "nearest", inline: "nearest" });
      readout.textContent = describe(here);
    }
  };
  shots.forEach((link) => { link.tabIndex = -1; });
  document.querySelectorAll(".shots").forEach((row) => { row.tabIndex = -1; });
  if (shots.length) shots[0].tabIndex = 0;

  const nextScene = (step) => {
    const scenes = [...document.querySelectorAll(".scene")];
    const now = scenes.indexOf(shots[here].closest(".scene"));
    const goal = scenes[Math.max(0, Math.min(scenes.length - 1, now + step))];
    return shots.indexOf(goal.querySelector("a[data-shot]"));
  };

  const go = (seconds) => {
    if (!hasFilm) return;
    film.currentTime = seconds;
    film.play().catch(() => {});
  };
  shots.forEach((link, number) => link.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    focus(number, false);
    readout.textContent = describe(number);
    go(starts[number]);
  }));

  document.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey || event.target.closest("video, summary")) return;
    const moves = {
      ArrowLeft: () => here - 1, ArrowRight: () => here + 1,
      ArrowUp: () => nextScene(-1), ArrowDown: () => nextScene(1),
      Home: () => 0, End: () => shots.length - 1,
    };
    const inside = shots.includes(document.activeElement);
    if (event.key in moves && (inside || event.key === "ArrowLeft" || event.key === "ArrowRight")) {
      event.preventDefault();
      focus(inside ? moves[event.key]() : here);
    } else if (event.key === " " && hasFilm) {
      event.preventDefault();
      if (film.paused) film.play().catch(() => {}); else film.pause();
    }
  });

  const pointed = (event) => {
    const box = curve.getBoundingClientRect();
    return begin + length * Math.max(0, Math.min(1, (event.clientX - box.left) / box.width));
  };
  curve.addEventListener("pointermove", (event) => { readout.textContent = describe(at(pointed(event))); });
  curve.addEventListener("click", (event) => {
    const seconds = pointed(event), number = at(seconds);
    focus(number);
    go(seconds);
  });

  const stage = document.querySelector(".stage");
  new ResizeObserver(() => {
    const isSticky = getComputedStyle(stage).position === "sticky";
    document.documentElement.style.setProperty("--stage", isSticky ? `${stage.offsetHeight}px` : "0px");
  }).observe(stage);

  film.addEventListener("timeupdate", () => {
    const x = (1000 * (film.currentTime - begin)) / length;
    playhead.setAttribute("d", `M${x} 0V100`);
    playhead.style.visibility = "visible";
    const number = at(film.currentTime);
    if (number === playing) return;
    if (playing >= 0) shots[playing].closest(".shot").classList.remove("playing");
    playing = number;
    shots[playing].closest(".shot").classList.add("playing");
    if (!film.paused) {
      readout.textContent = describe(number);
      shots[number].closest(".shot").scrollIntoView({ block: "nearest", inline: "nearest" });
    }
  });
  const lost = () => {
    hasFilm = false;
    stage.classList.add("alone");
    document.getElementById("no-film").hidden = false;
    shots.forEach((link, number) => {
      link.removeAttribute("href");
      link.setAttribute("role", "img");  // nothing to press any more, but something to look at
      link.setAttribute("aria-label", describe(number));
    });
  };
  film.addEventListener("error", lost);
  if (film.error || !film.hasAttribute("src")) lost();
})();
