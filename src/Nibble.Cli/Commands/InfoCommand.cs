using System.CommandLine;
using System.Text.Json;
using Nibble.Kernels;
using Nibble.Kernels.Cuda;

namespace Nibble.Cli.Commands;

/// <summary><c>nibble info</c></summary>
internal static class InfoCommand
{
    private static readonly JsonSerializerOptions Json = new() { PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower };

    public static Command Create()
    {
        var json = CommonOptions.Json();
        var command = new Command("info", "Versions, processor, GPUs, and which kernels run.") { json };
        command.SetAction(result =>
        {
            GpuReport gpus = GpuReport.Read();
            var facts = new Dictionary<string, object?>
            {
                ["nibble"] = typeof(InfoCommand).Assembly.GetName().Version?.ToString(3),
                ["runtime"] = Environment.Version.ToString(),
                ["torchsharp"] = typeof(TorchSharp.torch).Assembly.GetName().Version?.ToString(3),
                ["instruction_set_best"] = Cpu.Best.ToString(),
                ["instruction_set_used"] = Cpu.Current.ToString(),
                ["threads"] = Cpu.Threads,
                ["cuda_driver"] = gpus.DriverVersion,
                ["gpus"] = gpus.Gpus,
                ["no_gpu_because"] = gpus.Problem,
            };
            Console.WriteLine(result.GetValue(json)
                ? JsonSerializer.Serialize(facts, Json)
                : string.Join(Environment.NewLine, facts.Where(fact => fact.Value is not null).SelectMany(Lines)));
        });
        return command;
    }

    /// <summary>One line a fact, and one a GPU.</summary>
    private static IEnumerable<string> Lines(KeyValuePair<string, object?> fact) =>
        (fact.Value as IEnumerable<object> ?? [fact.Value!]).Select(value => $"{fact.Key,-22}{value}");
}
