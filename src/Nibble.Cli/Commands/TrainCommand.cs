using System.CommandLine;
using System.Globalization;
using System.Text;
using System.Text.Json;
using Nibble.Cli.Registry;
using Nibble.Kernels;
using Nibble.Kernels.Communication;
using Nibble.Training;
using Nibble.Training.Configuration;
using Nibble.Training.DeepSpeed;

namespace Nibble.Cli.Commands;

/// <summary><c>nibble train</c></summary>
internal static class TrainCommand
{
    private static readonly JsonSerializerOptions Json = new() { PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower };

    public static Command Create()
    {
        var config = new Option<string?>("--config") { Description = "The run's configuration (YAML).", HelpName = "FILE" };
        var set = new Option<string[]>("--set") { Description = "Overrides a configuration key, such as training.learning_rate=1e-4.", HelpName = "key=value" };
        var deepSpeed = new Option<string?>("--deepspeed")
        {
            Description = "A DeepSpeed configuration (JSON); what it says, and not as \"auto\", goes before the run's.",
            HelpName = "FILE",
        };
        var device = new Option<string?>("--device") { Description = "Short for --set device=...: auto, cpu, or cuda:N.", HelpName = "DEVICE" };
        var resume = new Option<bool>("--resume") { Description = "Go on from the newest checkpoint of the output folder." };
        var dryRun = new Option<bool>("--dry-run") { Description = "Show the resolved configuration, the data and the memory needed; train nothing." };
        var memory = new Option<string?>("--memory") { Description = "With --dry-run: what to change for the run to fit into so much memory, such as 8GiB.", HelpName = "SIZE" };
        var profile = new Option<bool>("--profile") { Description = $"Show what each operator takes of a step, and write {FineTuner.TraceFile} for Perfetto or chrome://tracing." };
        var json = CommonOptions.Json();
        var command = new Command("train", "Fine-tune a model.") { config, set, deepSpeed, device, resume, dryRun, memory, profile, json };
        command.SetAction((result, cancellation) =>
        {
            RunConfig run = ConfigBinder.Load(
                result.GetValue(config), [.. result.GetValue(set) ?? [], .. result.GetValue(device) is { } name ? [$"device={name}"] : Array.Empty<string>()]);
            if (result.GetValue(deepSpeed) is { } path)
            {
                run = DeepSpeedConfig.Load(path).Apply(run, Processes.Count, ComputeDevice.NamesGpu(run.Device));
            }

            bool machine = result.GetValue(json);
            long? budget = result.GetValue(memory) is { } size ? ByteSize.Parse(size) : null;
            if (budget is not null && !result.GetValue(dryRun))
            {
                throw new UsageException("--memory needs --dry-run: it says what would fit, and changes nothing by itself.");
            }

            bool speaks = Processes.Rank == 0;
            if (result.GetValue(dryRun))
            {
                if (!speaks)
                {
                    return Task.FromResult(0);
                }

                DryRun report = new FineTuner(run).DryRun(budget, Processes.Count);
                Console.WriteLine(machine ? report.ToJson() : Describe(report));
                return Task.FromResult(0);
            }

            TrainingResult outcome = RegisteredRun.Train(run, machine || !speaks, result.GetValue(resume), result.GetValue(profile), cancellation);
            if (!speaks)
            {
                return Task.FromResult(0);
            }

            if (machine)
            {
                Console.WriteLine(JsonSerializer.Serialize(
                    new
                    {
                        output_dir = run.OutputDir,
                        outcome.Steps,
                        outcome.FinalLoss,
                        eval_loss = outcome.FinalEvalLoss,
                        outcome.TrainableParameters,
                        outcome.TotalParameters,
                    },
                    Json));
            }
            else
            {
                Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{outcome.Steps} steps done; results are in {run.OutputDir}"));
            }

            return Task.FromResult(0);
        });
        return command;
    }

    /// <summary>The report for people; in the first example, what is learned stands between marks.</summary>
    private static string Describe(DryRun report)
    {
        var example = new StringBuilder();
        bool open = false;
        foreach ((string text, bool learned) in report.FirstExample)
        {
            example.Append(learned && !open ? "[[" : !learned && open ? "]]" : "").Append(text);
            open = learned;
        }

        return string.Join(Environment.NewLine,
        [
            ConfigBinder.ToJson(report.Config), .. report.Notes, $"{report.TrainExamples} training and {report.EvalExamples} evaluation examples", "",
            "First example; [[what is learned]]:", example.Append(open ? "]]" : "").ToString(), "", report.Memory.ToString(),
            .. report.Plan is { } plan ? [plan.ToString()] : Array.Empty<string>(),
        ]);
    }
}
