// What the form of a new job asks, and the request that comes of it.

export interface Field {
  /** As the service's refusals name it. */
  name: string;
  group: string;
  label: string;
  help: string;
  kind: "text" | "number" | "choice" | "long";
  required?: boolean;
  suggest?: boolean;
  choices?: string[];
  value?: string;
  /** For numbers: what they must be. */
  whole?: boolean;
  positive?: boolean;
}

export const groups = ["What", "How", "More"];

export const fields: Field[] = [
  { name: "model_name", group: "What", label: "Base model", help: "A folder below the service's models.", kind: "text", required: true, suggest: true },
  { name: "training_data_path", group: "What", label: "Examples", help: "A file below the service's data, such as train.jsonl.", kind: "text", required: true, suggest: true },
  { name: "output_dir", group: "What", label: "Output folder", help: "A new folder below the service's outputs.", kind: "text", required: true },
  { name: "config.method", group: "How", label: "Method", help: "An adapter, an adapter over four bits, or all weights.", kind: "choice", choices: ["lora", "qlora", "full"], value: "lora" },
  { name: "lora_r", group: "How", label: "Rank", help: "Of the adapter; 8 if left empty.", kind: "number", whole: true, positive: true },
  { name: "num_epochs", group: "How", label: "Epochs", help: "Passes over the examples; 3 if left empty.", kind: "number", positive: true },
  { name: "batch_size", group: "How", label: "Batch size", help: "Sequences in a micro-batch; 4 if left empty.", kind: "number", whole: true, positive: true },
  { name: "learning_rate", group: "How", label: "Learning rate", help: "The highest, such as 2e-4, which it is if left empty.", kind: "number", positive: true },
  { name: "config.data.max_length", group: "How", label: "Length", help: "Tokens of an example at most; 2048 if left empty.", kind: "number", whole: true, positive: true },
  { name: "config", group: "More", label: "Further configuration", help: "JSON, such as {\"training.max_steps\": 100, \"data.eval_ratio\": 0.1}.", kind: "long" },
];

export interface Request {
  body: Record<string, unknown>;
  wrong: Record<string, string>;
  /** Whether a field is empty that must not be. */
  missing: boolean;
}

/** The request, and what is wrong by field. */
export function request(values: Map<string, string>): Request {
  const wrong: Record<string, string> = {};
  const { config, problem } = furtherConfig(values.get("config") ?? "");
  if (problem) {
    wrong["config"] = problem;
  }
  const body: Record<string, unknown> = {};
  let missing = false;
  for (const field of fields.filter((item) => item.name !== "config")) {
    const text = values.get(field.name) ?? "";
    if (text === "" && field.required) {
      wrong[field.name] = "This is needed.";
      missing = true;
    }
    if (text === "") {
      continue;
    }
    const value = field.kind === "number" ? Number(text) : text;
    if (typeof value === "number") {
      const fault = !Number.isFinite(value) ? "This is no number." : field.whole && !Number.isInteger(value) ? "This must be a whole number." : field.positive && value <= 0 ? "This must be above 0." : "";
      if (fault) {
        wrong[field.name] = fault;
        continue;
      }
    }
    if (field.name.startsWith("config.")) {
      config[field.name.slice("config.".length)] = value;
    } else {
      body[field.name] = value;
    }
  }
  if (config["method"] === "full") {
    delete body["lora_r"];
  }
  return { body: { ...body, config }, wrong, missing };
}

function furtherConfig(text: string): { config: Record<string, unknown>; problem: string } {
  if (text === "") {
    return { config: {}, problem: "" };
  }
  try {
    const config = JSON.parse(text) as unknown;
    return typeof config === "object" && config !== null && !Array.isArray(config)
      ? { config: { ...config }, problem: "" }
      : { config: {}, problem: "This must be a JSON object." };
  } catch (error) {
    return { config: {}, problem: `This is no JSON: ${(error as Error).message}` };
  }
}
