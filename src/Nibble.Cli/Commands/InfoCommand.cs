using System.CommandLine;
using System.Text.Json;
using Nibble.Kernels;

namespace Nibble.Cli.Commands;

/// <summary><c>nibble info</c></summary>
internal static class InfoCommand
{
    public static Command Create()
    {
        var json = CommonOptions.Json();
        var command = new Command("info", "Versions, processor, and which kernels run.") { json };
        command.SetAction(result =>
        {
            var facts = new Dictionary<string, object?>
            {
                ["nibble"] = typeof(InfoCommand).Assembly.GetName().Version?.ToString(3),
                ["runtime"] = Environment.Version.ToString(),
                ["torchsharp"] = typeof(TorchSharp.torch).Assembly.GetName().Version?.ToString(3),
                ["devices"] = "cpu",
                ["instruction_set_best"] = Cpu.Best.ToString(),
                ["instruction_set_used"] = Cpu.Current.ToString(),
                ["threads"] = Cpu.Threads,
            };
            Console.WriteLine(result.GetValue(json)
                ? JsonSerializer.Serialize(facts)
                : string.Join(Environment.NewLine, facts.Select(fact => $"{fact.Key,-22}{fact.Value}")));
        });
        return command;
    }
}
