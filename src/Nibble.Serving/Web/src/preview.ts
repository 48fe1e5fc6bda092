// What a job would need and learn, as the service says it.

import { h } from "./dom";
import { bytes } from "./format";

interface Piece {
  text: string;
  learned: boolean;
}

export interface Preview {
  device: string;
  memory_bytes: number;
  device_bytes: number;
  memory: { name: string; bytes: number }[];
  format: string;
  records: { line: number; tokens: number; kept: number; learned: number; pieces: Piece[] }[];
}

export function previewView(preview: Preview): HTMLElement[] {
  const parts = preview.memory.filter((part) => part.bytes > 0).sort((a, b) => b.bytes - a.bytes);
  const share = preview.memory_bytes / preview.device_bytes;
  return [
    h("h2", {}, "Memory"),
    h("p", {}, `About ${bytes(preview.memory_bytes)} of the ${bytes(preview.device_bytes)} that ${preview.device} has for jobs.`),
    h("meter", { min: 0, max: 1, high: 0.9, value: Math.min(1, share), "aria-label": "Share of the device's memory" }, `${Math.round(100 * share)}%`),
    h("dl", { class: "facts" }, ...parts.map((part) => h("div", {}, h("dt", {}, part.name), h("dd", {}, bytes(part.bytes))))),
    h("h2", {}, "First examples"),
    h("p", { class: "small" }, `Read as ${preview.format}. What is marked is learned.`),
    ...preview.records.map((record) =>
      h(
        "figure",
        { class: "record" },
        h("figcaption", {}, `Line ${record.line}: ${record.tokens} tokens${record.kept < record.tokens ? `, cut to ${record.kept}` : ""}, ${record.learned} learned`),
        h("p", { class: "text" }, ...record.pieces.map((piece) => (piece.learned ? h("mark", {}, piece.text) : h("span", {}, piece.text)))),
      ),
    ),
  ];
}
