// Draws the task stream: a row for each thread, a box for each run. Hovering names it, dragging zooms in, a double
// click shows all again.
"use strict";
(function () {
  const stream = JSON.parse(document.getElementById("stream").textContent);
  const canvas = document.getElementById("canvas");
  const what = document.getElementById("what");
  const failed = new Set(stream.failed);
  const HEIGHT = 14;
  let from = 0, to = stream.wall, down = null;

  function color(name) {
    let hash = 7;
    for (const letter of name) hash = (hash * 31 + letter.codePointAt(0)) >>> 0;
    return `hsl(${hash % 360} 55% 60%)`;
  }
  const colors = stream.names.map(color);

  function draw() {
    const width = canvas.clientWidth || 1000;
    canvas.width = width;
    canvas.height = Math.max(1, stream.rows.length) * HEIGHT;
    canvas.style.height = canvas.height + "px";
    const pen = canvas.getContext("2d");
    const scale = width / (to - from || 1);
    stream.row.forEach((row, i) => {
      const x = (stream.start[i] - from) * scale, w = stream.seconds[i] * scale;
      if (x + w < 0 || x > width) return;
      pen.fillStyle = failed.has(i) ? "#000" : colors[stream.name[i]];
      pen.fillRect(x, row * HEIGHT + 1, Math.max(w, 0.5), HEIGHT - 2);
    });
  }

  function time(event) { return from + (event.offsetX / canvas.clientWidth) * (to - from); }

  function under(event) {
    const row = Math.floor(event.offsetY / HEIGHT), at = time(event);
    const slack = (2 / canvas.clientWidth) * (to - from);
    return stream.row.findIndex((r, i) =>
      r === row && stream.start[i] - slack <= at && at <= stream.start[i] + stream.seconds[i] + slack);
  }

  canvas.addEventListener("mousemove", (event) => {
    const i = under(event);
    what.textContent = i < 0 ? `${time(event).toFixed(3)} s` :
      `${stream.keys ? stream.keys[i] : stream.names[stream.name[i]]}: ${stream.seconds[i].toFixed(6)} s from ` +
      `${stream.start[i].toFixed(3)} s on ${stream.rows[stream.row[i]]}` + (failed.has(i) ? ", failed" : "");
  });
  canvas.addEventListener("mousedown", (event) => { down = time(event); });
  canvas.addEventListener("mouseup", (event) => {
    const up = time(event);
    if (down !== null && Math.abs(up - down) > 0.01 * (to - from)) {
      [from, to] = [Math.min(down, up), Math.max(down, up)];
      draw();
    }
    down = null;
  });
  canvas.addEventListener("dblclick", () => { [from, to] = [0, stream.wall]; draw(); });
  window.addEventListener("resize", draw);
  draw();
})();
