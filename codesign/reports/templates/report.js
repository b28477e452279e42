"use strict";
(() => {
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const root = document.documentElement;
  const narrow = () => window.innerWidth < 600;
  // Only these buttons: plotly has one that uploads a figure.
  const config = {
    displaylogo: false,
    responsive: true,
    plotlyServerURL: "",
    modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]],
  };

  // A layout in the colours of the page and for its width.
  function styled(layout) {
    const style = getComputedStyle(root);
    const color = (name) => style.getPropertyValue(name).trim();
    const result = structuredClone(layout);
    for (const key of Object.keys(result).filter((name) => /^[xy]axis\d*$/.test(name))) {
      const axis = result[key];
      Object.assign(axis, { gridcolor: color("--line"), linecolor: color("--line"), zeroline: false, fixedrange: narrow() });
      if (axis.title) axis.title.standoff = 8;
    }
    return Object.assign(result, {
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: getComputedStyle(document.body).fontFamily, size: narrow() ? 11 : 12, color: color("--text") },
      margin: { l: narrow() ? 48 : 64, r: 12, t: 12, b: 44 },
      legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", font: { color: color("--soft") } },
      modebar: { orientation: "v", bgcolor: "rgba(0,0,0,0)", color: color("--soft"), activecolor: color("--text") },
      hoverlabel: { align: "left", bgcolor: color("--panel"), bordercolor: color("--line"), font: { color: color("--text") } },
    });
  }

  function draw() {
    for (const [name, figure] of Object.entries(figures)) {
      Plotly.react(name, figure.data, styled(figure.layout), { ...config, displayModeBar: narrow() ? false : "hover" });
    }
  }

  const dark = matchMedia("(prefers-color-scheme: dark)");
  dark.addEventListener("change", draw);
  document.getElementById("scheme").addEventListener("click", () => {
    const now = root.dataset.scheme || (dark.matches ? "dark" : "light");
    root.dataset.scheme = now === "dark" ? "light" : "dark";
    draw();
  });
  draw();
})();
