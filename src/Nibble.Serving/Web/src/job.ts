// What the service says about jobs.

export type Status = "pending" | "running" | "paused" | "completed" | "failed" | "cancelled";

export interface Job {
  job_id: string;
  status: Status;
  progress: number;
  step: number;
  total_steps: number;
  metrics: Record<string, unknown>;
  error: string | null;
  attempts: number;
  device: string;
  memory_bytes: number;
  model_name: string;
  training_data_path: string;
  output_dir: string;
  created_at: string;
  started_at: string | null;
  ended_at: string | null;
}

export interface JobPage {
  data: Job[];
  has_more: boolean;
}

/** A log line of training; a figure that is no number is the word for it, such as "NaN". */
export interface StepFigures {
  step: number;
  epoch: number;
  loss: number | string;
  learning_rate: number;
  grad_norm: number | string;
  tokens_per_second: number;
}

export interface EvaluationFigures {
  step: number;
  eval_loss: number | string;
}

export interface History {
  steps: StepFigures[];
  evaluations: EvaluationFigures[];
}

export interface Sample {
  prompt: string;
  expected: string;
  before: string;
  after: string | null;
}

export const statuses: readonly Status[] = ["pending", "running", "paused", "completed", "failed", "cancelled"];

export function isOver(job: Job): boolean {
  return job.status === "completed" || job.status === "failed" || job.status === "cancelled";
}

export function metric(job: Job, name: string): number | null {
  const value = job.metrics[name];
  return typeof value === "number" ? value : null;
}
