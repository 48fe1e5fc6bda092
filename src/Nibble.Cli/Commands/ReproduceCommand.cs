using System.CommandLine;
using Nibble.Cli.Registry;
using Nibble.Kernels.Communication;
using Nibble.Training.Configuration;
using Nibble.Training.Reporting;

namespace Nibble.Cli.Commands;

/// <summary><c>nibble reproduce</c></summary>
internal static class ReproduceCommand
{
    public static Command Create()
    {
        Argument<string> run = RunArgument.One();
        var target = new Option<string?>("--out") { Description = "The folder to write; by default RUN-reproduced.", HelpName = "DIR" };
        var resume = new Option<bool>("--resume") { Description = "Go on with a reproduction that was interrupted." };
        var command = new Command("reproduce", "Run a run again from its manifest and compare; exit code 1 if anything differs.") { run, target, resume };
        command.SetAction((result, cancellation) =>
        {
            RunRecord original = RunArgument.Load(result.GetValue(run)!);
            if (original.Manifest.Processes is var processes && processes != Processes.Count)
            {
                throw new UsageException($"{original.Folder} is a run of {processes} processes, not {Processes.Count}; sums depend on that: mpirun -n {processes} nibble reproduce ...");
            }

            RunConfig located = original.Manifest.Located();
            (original.Manifest.Hashes ?? throw new InvalidDataException($"{original.Folder}: the run has not come to its end; it goes on with 'nibble train --resume'."))
                .Require(located);
            RunConfig config = located with { OutputDir = result.GetValue(target) ?? $"{original.Folder}-reproduced" };
            RegisteredRun.Train(config, quiet: Processes.Rank > 0, result.GetValue(resume), profile: false, cancellation);
            if (Processes.Rank > 0)
            {
                return Task.FromResult(0);
            }

            var comparison = RunComparison.Of(original, RunRecord.Load(config.OutputDir));
            Console.WriteLine(comparison);
            return Task.FromResult(comparison.IsIdentical ? 0 : CommandLineProgram.Failed);
        });
        return command;
    }
}
