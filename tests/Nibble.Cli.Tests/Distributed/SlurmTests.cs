using System.Diagnostics;
using Nibble.Tests;

namespace Nibble.Cli.Tests;

/// <summary>The batch script among the examples, run by Slurm itself on a cluster of this machine alone.</summary>
[Collection("nibble")] // Programs that share the processors would only wait for each other.
public class SlurmTests : DistributedProgram
{
    [Fact]
    public void The_batch_script_of_the_examples_trains_under_Slurm_as_one_process_does()
    {
        Mpirun(2, []); // Or the test is skipped.
        Assert.SkipUnless(IsOpenMpi, "The script's processes meet over PMIx, which MPICH need not know.");
        using var cluster = new SlurmOnLoopback();
        using var folder = new TempFolder();
        string[] settings = ["--set", "training.max_steps=4"];
        Assert.Equal(0, Watch(new ProcessStartInfo(Program, Train(folder["1"], "lora", 2, settings))).Code);
        string log = folder["job.log"];
        File.WriteAllText(folder["run.yaml"], "{}");
        string script = Path.GetFullPath(Path.Combine(AppContext.BaseDirectory, "../../../../src/Nibble.Cli/examples/distributed/train.sbatch"));
        // One machine instead of two, and less time; two minutes before it is up, the script lets the run stop.
        string[] options = ["--wait", "--nodes=1", "--ntasks-per-node=2", "--time=10", $"--output={log}", script, folder["run.yaml"]];
        (int code, List<string> lines) = Watch(cluster.Command("sbatch", [.. options, .. Train(folder["2"], "lora", 1, settings).Skip(1)]));
        Assert.True(code == 0, string.Join('\n', lines) + (File.Exists(log) ? File.ReadAllText(log) : ""));
        Assert.Contains("step 4 ", File.ReadAllText(log), StringComparison.Ordinal);
        AssertSame(folder["1"], folder["2"], 1e-5);
    }
}
