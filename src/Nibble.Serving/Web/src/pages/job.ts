// One job: where it stands, its curves as they grow, its log, configuration and samples, and a chat with what it made.

import { get, Refusal } from "../api";
import { Chart, Line } from "../chart";
import { chat } from "../chat";
import { settings } from "../configuration";
import { actions, badge, progress } from "../controls";
import { announce, complaint, h, Slot } from "../dom";
import { bytes, duration, moment, number } from "../format";
import { isOver, metric, type EvaluationFigures, type Job, type Sample, type StepFigures } from "../job";
import { follow, type ServerEvent } from "../sse";

const mostLogLines = 1000;

export async function jobPage(place: HTMLElement, signal: AbortSignal, id = ""): Promise<void> {
  const path = `/v1/jobs/${encodeURIComponent(id)}`;
  const title = h("h1", {}, "Job");
  const standing = new Slot(h("div", { class: "actions" }));
  const controls = new Slot(h("div"));
  const problem = new Slot(h("div"));
  const figures = new Slot(h("dl", { class: "facts" }));
  const summary = h("section", { "aria-label": "Where it stands" }, h("div", { class: "bar" }, standing.element, controls.element), problem.element, figures.element);
  place.append(title, summary);
  let job: Job;
  try {
    job = await get<Job>(path, signal);
  } catch (error) {
    if (!signal.aborted) {
      summary.replaceChildren(complaint(error));
    }
    return;
  }
  title.textContent = job.output_dir;
  document.title = `${job.output_dir} – Nibble`;

  const loss = new Line("Training");
  const heldOut = new Line("Evaluation");
  const rate = new Line("Learning rate");
  const speed = new Line("Tokens per second");
  const lossChart = new Chart("Loss", [loss, heldOut], signal, true);
  const rateChart = new Chart("Learning rate", [rate], signal);
  const speedChart = new Chart("Throughput", [speed], signal);
  const log = h("ol", { class: "log", tabindex: "0", "aria-label": "Log" });
  const samples = h("section", { hidden: true }, h("h2", {}, "Samples"));
  const talk = h("section", { hidden: true });
  place.append(
    h("section", { class: "charts", "aria-label": "Curves" }, lossChart.element, rateChart.element, speedChart.element),
    talk,
    samples,
    h("section", {}, h("h2", {}, "Log"), log),
    settings(path, signal),
  );
  show();
  await showResults();
  await listen();

  function show(): void {
    const facts: [string, string][] = [
      ["Loss", number(metric(job, "loss"))],
      ["Evaluation loss", number(metric(job, "eval_loss"))],
      ["Tokens per second", number(metric(job, "tokens_per_second"))],
      ["Model", job.model_name],
      ["Examples", job.training_data_path],
      ["Device", `${job.device}, about ${bytes(job.memory_bytes)}`],
      ["Created", moment(job.created_at)],
      ["Took", job.started_at ? duration((Date.parse(job.ended_at ?? new Date().toISOString()) - Date.parse(job.started_at)) / 1000) : "–"],
      ["Attempts", String(job.attempts)],
    ];
    const known = facts.filter(([, value]) => value !== "–");
    standing.show(`${job.status} ${job.step}/${job.total_steps}`, () => [badge(job), progress(job)]);
    controls.show(job.status, () => [actions(job, () => void refresh())]);
    problem.show(job.error ?? "", () => [job.error ? h("p", { class: "problem" }, job.error) : null]);
    figures.show(JSON.stringify(known), () => known.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
  }

  async function refresh(): Promise<void> {
    try {
      job = await get<Job>(path, signal);
      show();
    } catch {
      // The stream of events waits for the service to come back, and asks again then.
    }
  }

  async function showResults(): Promise<void> {
    if (job.status !== "pending") {
      await chat(talk, job, signal);
    }
    if (!isOver(job)) {
      return;
    }
    try {
      const found = (await get<{ samples: Sample[] }>(`${path}/samples`, signal)).samples;
      samples.hidden = found.length === 0;
      samples.replaceChildren(h("h2", {}, "Samples"), ...found.map(sampleView));
    } catch (error) {
      if (!(error instanceof Refusal) && !signal.aborted) {
        throw error;
      }
    }
  }

  async function listen(): Promise<void> {
    let told = -1;
    let asked = performance.now();
    for await (const event of follow(`${path}/events`, signal)) {
      take(event);
      if (event.kind === "status" || performance.now() - asked > 500) {
        asked = performance.now();
        await refresh();
        const tenth = Math.floor(10 * job.progress);
        if (tenth !== told && !isOver(job)) {
          told = tenth;
          announce(`${job.status}, ${job.step} of ${job.total_steps} steps, loss ${number(metric(job, "loss"))}`);
          await chat(talk, job, signal);
        }
      }
    }
    if (!signal.aborted && told >= 0) {
      await refresh();
      announce(`The job is ${job.status}.`);
      await showResults();
    }
  }

  function take(event: ServerEvent): void {
    const data = JSON.parse(event.data) as Record<string, unknown> & { time: string };
    if (event.kind === "metrics") {
      const logged = data as unknown as StepFigures;
      loss.add(logged.step, logged.loss);
      rate.add(logged.step, logged.learning_rate);
      speed.add(logged.step, logged.tokens_per_second);
      [lossChart, rateChart, speedChart].forEach((chart) => chart.update());
    } else if (event.kind === "evaluation") {
      const logged = data as unknown as EvaluationFigures;
      heldOut.add(logged.step, logged.eval_loss);
      lossChart.update();
      write(data.time, `evaluation at step ${logged.step}: loss ${logged.eval_loss}`);
    } else if (event.kind === "status") {
      write(data.time, `${data["status"]}: ${data["reason"]}`);
    } else if (event.kind === "log") {
      write(data.time, String(data["message"]));
    }
  }

  function write(time: string, text: string): void {
    const isAtEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 20;
    log.append(h("li", {}, h("time", { datetime: time }, new Date(time).toLocaleTimeString()), h("span", {}, text)));
    if (log.children.length > mostLogLines) {
      log.firstElementChild!.remove();
    }
    if (isAtEnd) {
      log.scrollTop = log.scrollHeight;
    }
  }
}

function sampleView(sample: Sample): HTMLElement {
  const part = (name: string, text: string | null): HTMLElement => h("div", {}, h("dt", {}, name), h("dd", { class: "text" }, text ?? "–"));
  return h("dl", { class: "sample" }, part("Prompt", sample.prompt), part("Expected", sample.expected), part("Before", sample.before), part("After", sample.after));
}
