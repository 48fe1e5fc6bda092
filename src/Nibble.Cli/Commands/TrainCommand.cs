using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using Nibble.Training;
using Nibble.Training.Configuration;

namespace Nibble.Cli.Commands;

/// <summary><c>nibble train</c></summary>
internal static class TrainCommand
{
    private static readonly JsonSerializerOptions Json = new() { PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower };

    public static Command Create()
    {
        var config = new Option<string?>("--config") { Description = "The run's configuration (YAML).", HelpName = "FILE" };
        var set = new Option<string[]>("--set") { Description = "Overrides a configuration key, such as training.learning_rate=1e-4.", HelpName = "key=value" };
        var resume = new Option<bool>("--resume") { Description = "Go on from the newest checkpoint of the output folder." };
        var json = CommonOptions.Json();
        var command = new Command("train", "Fine-tune a model.") { config, set, resume, json };
        command.SetAction((result, cancellation) =>
        {
            RunConfig run = ConfigBinder.Load(result.GetValue(config), result.GetValue(set) ?? []);
            bool machine = result.GetValue(json);
            TrainingResult outcome = Progress.Show(machine, observer => new FineTuner(run, observer).Run(result.GetValue(resume), cancellation));
            if (machine)
            {
                Console.WriteLine(JsonSerializer.Serialize(
                    new
                    {
                        output_dir = run.OutputDir,
                        outcome.Steps,
                        final_loss = outcome.Losses.Count > 0 ? outcome.Losses[^1].Loss : (double?)null,
                        eval_loss = outcome.Evaluations.Count > 0 ? outcome.Evaluations[^1].EvalLoss : (double?)null,
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
}
