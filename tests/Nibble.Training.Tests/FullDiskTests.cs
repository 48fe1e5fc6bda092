using System.Diagnostics;
using System.Text.Json.Nodes;
using Nibble.Tests;
using Nibble.Training.Configuration;

namespace Nibble.Training.Tests;

public class FullDiskTests
{
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_disk_that_fills_up_costs_no_finished_checkpoint_and_the_run_resumes_with_the_same_losses(bool saveAsync)
    {
        using var folder = new TempFolder();
        TrainingResult undisturbed = new FineTuner(Config(folder["undisturbed"])).Run(cancellation: TestContext.Current.CancellationToken);

        using var disk = new SmallDisk(folder["disk"]);
        string output = Path.Combine(disk.Path, "out");
        string filler = Path.Combine(disk.Path, "filler");
        Exception error = Assert.ThrowsAny<IOException>(() => { new FineTuner(Config(output, saveAsync), new FillAt(5, filler, Path.Combine(output, "checkpoint-4"))).Run(cancellation: TestContext.Current.CancellationToken); });
        Assert.StartsWith("checkpoint-8 could not be written, those before it are untouched: No space left", error.Message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', error.Message);
        Assert.Equal(["checkpoint-4"], Directory.EnumerateDirectories(output).Select(Path.GetFileName));

        File.Delete(filler);
        TrainingResult resumed = new FineTuner(Config(output, saveAsync)).Run(resume: true, TestContext.Current.CancellationToken);
        Assert.Equal(undisturbed.Losses.Skip(4), resumed.Losses);
        Assert.Equal(8, File.ReadLines(Path.Combine(output, "metrics.jsonl")).Count(line => JsonNode.Parse(line)!["loss"] is not null));
    }

    [Fact]
    public void A_disk_without_space_for_the_optimizer_states_ends_the_run_before_it_begins_and_in_one_line()
    {
        using var folder = new TempFolder();
        using var disk = new SmallDisk(folder["disk"]);
        RunConfig config = Config(Path.Combine(disk.Path, "out"));
        config = config with { Method = Method.Full, Training = config.Training with { OffloadOptimizer = OffloadDevice.Disk } };
        File.WriteAllBytes(Path.Combine(disk.Path, "filler"), new byte[1 << 20]);
        Exception error = Assert.ThrowsAny<IOException>(() => { new FineTuner(config).Run(cancellation: TestContext.Current.CancellationToken); });
        Assert.Contains("offloaded.", error.Message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', error.Message);
        Assert.Empty(Directory.EnumerateFiles(config.OutputDir));
    }

    private static RunConfig Config(string output, bool saveAsync = false) => new()
    {
        Model = SharedFolder.Path("models", "stories260K", "hf"),
        OutputDir = output,
        Data = new DataSection { Train = SharedFolder.Path("vectors", "training", "short", "lora", "train.jsonl"), MaxLength = 256 },
        Training = new TrainingSection { MaxSteps = 8, SaveSteps = 4, GradientAccumulationSteps = 1, LoggingSteps = 1, SaveAsync = saveAsync },
    };

    private sealed class FillAt(int step, string file, string checkpoint) : ITrainingObserver
    {
        public void Progress(int done, int totalSteps, double loss)
        {
            if (done == step)
            {
                Assert.True(SpinWait.SpinUntil(() => Directory.Exists(checkpoint), TimeSpan.FromSeconds(10)));
                Assert.Throws<IOException>(() => File.WriteAllBytes(file, new byte[4 << 20]));
            }
        }
    }

    /// <summary>A file system in memory, of two megabytes.</summary>
    private sealed class SmallDisk : IDisposable
    {
        public SmallDisk(string path)
        {
            Path = path;
            Directory.CreateDirectory(path);
            Assert.SkipUnless(Run("mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", path), "Mounting a small disk needs root.");
        }

        public string Path { get; }

        public void Dispose() => Run("umount", Path);

        private static bool Run(string program, params string[] arguments)
        {
            using Process process = Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardError = true })!;
            process.WaitForExit();
            return process.ExitCode == 0;
        }
    }
}
