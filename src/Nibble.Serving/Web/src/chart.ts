// A line chart over steps, with its last values in words.

import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { h } from "./dom";
import { number } from "./format";

/** A line: its values by step, of which later ones replace earlier ones. */
export class Line {
  readonly points = new Map<number, number>();

  constructor(readonly label: string) {}

  /** Takes a value in; what is no finite number leaves a gap. */
  add(step: number, value: number | string): void {
    if (typeof value === "number" && Number.isFinite(value)) {
      this.points.set(step, value);
    } else {
      this.points.delete(step);
    }
  }

  /** The last value in words, and the lowest where that is of interest. */
  describe(lowest: boolean): string {
    const steps = [...this.points.keys()].sort((a, b) => a - b);
    const last = steps.at(-1);
    if (last === undefined) {
      return `${this.label}: none yet`;
    }
    const best = steps.reduce((least, step) => (this.points.get(step)! < this.points.get(least)! ? step : least));
    const text = `${this.label}: ${number(this.points.get(last))} at step ${last}`;
    return lowest && best !== last ? `${text}, lowest ${number(this.points.get(best))} at step ${best}` : text;
  }
}

/** Lines drawn into a figure, again when they, the width or the colours change. */
export class Chart {
  readonly element: HTMLElement;
  private readonly canvas = h("div", { class: "canvas", role: "img" });
  private readonly caption = h("p", { class: "last-values" });
  private plot: uPlot | null = null;
  private waits = false;

  constructor(
    private readonly title: string,
    private readonly lines: Line[],
    signal: AbortSignal,
    private readonly lowest = false,
  ) {
    this.element = h("figure", {}, h("figcaption", {}, title), this.canvas, this.caption);
    const resized = new ResizeObserver(() => this.plot?.setSize(this.size()));
    resized.observe(this.canvas);
    const colours = window.matchMedia("(prefers-color-scheme: dark)");
    const recolour = (): void => {
      this.plot?.destroy();
      this.plot = null;
      this.update();
    };
    colours.addEventListener("change", recolour);
    signal.addEventListener("abort", () => {
      resized.disconnect();
      colours.removeEventListener("change", recolour);
      this.plot?.destroy();
    });
    this.update();
  }

  /** Draws what is there now, with the next picture of the screen. */
  update(): void {
    if (!this.waits) {
      this.waits = true;
      requestAnimationFrame(() => {
        this.waits = false;
        this.draw();
      });
    }
  }

  private draw(): void {
    const begun = this.lines.filter((line, i) => i === 0 || line.points.size > 0);
    const text = begun.map((line) => line.describe(this.lowest)).join("; ");
    this.caption.textContent = text;
    this.canvas.setAttribute("aria-label", `${this.title}, a chart. ${text}`);
    if (!this.canvas.isConnected) {
      return;
    }
    const steps = [...new Set(this.lines.flatMap((line) => [...line.points.keys()]))].sort((a, b) => a - b);
    const data: uPlot.AlignedData = [steps, ...this.lines.map((line) => steps.map((step) => line.points.get(step) ?? null))];
    if (this.plot) {
      this.plot.setData(data);
    } else {
      this.plot = new uPlot(this.options(), data, this.canvas);
    }
  }

  private size(): { width: number; height: number } {
    return { width: Math.max(200, this.canvas.clientWidth), height: 220 };
  }

  private options(): uPlot.Options {
    const style = getComputedStyle(document.documentElement);
    const colour = (name: string): string => style.getPropertyValue(name).trim();
    const axis: uPlot.Axis = { stroke: colour("--soft"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line"), width: 1 }, font: "12px system-ui" };
    return {
      ...this.size(),
      scales: { x: { time: false } },
      legend: { show: this.lines.length > 1, live: false },
      cursor: { y: false, drag: { x: false, y: false } },
      axes: [
        { ...axis, size: 32, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000, 100000] },
        { ...axis, size: 64, values: (_, splits) => splits.map(number) },
      ],
      series: [
        { label: "Step" },
        ...this.lines.map(
          (line, i): uPlot.Series => ({ label: line.label, stroke: colour(`--line-${i + 1}`), width: 2, spanGaps: true, ...(i % 2 === 1 ? { dash: [6, 4] } : {}), points: { show: line.points.size < 3 } }),
        ),
      ],
    };
  }
}
