using System.Diagnostics;
using System.Text.Json.Nodes;
using Nibble.Modeling.Checkpoints;
using Nibble.Tests;
using TorchSharp;

namespace Nibble.Cli.Tests;

/// <summary>Trains a small model in several processes, and compares what comes of it.</summary>
public abstract class DistributedProgram
{
    private static readonly Lazy<bool> OpenMpi = new(() =>
    {
        using Process version = Process.Start(new ProcessStartInfo(Tool("mpirun")!, ["--version"]) { RedirectStandardOutput = true })!;
        return version.StandardOutput.ReadToEnd().Contains("Open MPI", StringComparison.Ordinal);
    });

    /// <summary>The program itself.</summary>
    protected static string Program { get; } = TestedProgram.Path;

    /// <summary>Where everything is built.</summary>
    protected static string Artifacts { get; } = Path.GetFullPath(Path.Combine(AppContext.BaseDirectory, "../../.."));

    /// <summary>A program of tests that trains several times; see tests/Nibble.Ranks.</summary>
    protected static string Ranks { get; } = Path.Combine(Artifacts, "bin", "Nibble.Ranks", "release", "Nibble.Ranks");

    /// <summary>Whether mpirun is Open MPI's, and not MPICH's.</summary>
    protected static bool IsOpenMpi => OpenMpi.Value;

    /// <summary>mpirun and its arguments for some processes of a command on this machine; the test is skipped where there is no MPI.</summary>
    protected static ProcessStartInfo Mpirun(int processes, string[] command)
    {
        if (Tool("mpirun") is not { } mpirun || !File.Exists(Path.Combine(TestedProgram.Folder, "runtimes", "linux-x64", "native", "libnibble_comm_mpi.so")))
        {
            Assert.Skip("No MPI: ./build.sh --target=Distributed installs Open MPI.");
            throw new UnreachableException();
        }

        string[] permissions = IsOpenMpi ? ["--allow-run-as-root", "--oversubscribe"] : []; // MPICH asks for none.
        return new ProcessStartInfo(mpirun, [.. permissions, "--bind-to", "none", "-n", $"{processes}", .. command]);
    }

    /// <summary>A program of this machine; null when it has none of that name.</summary>
    protected static string? Tool(string name) => (Environment.GetEnvironmentVariable("PATH") ?? "").Split(':').Concat(["/usr/sbin", "/sbin"])
        .Select(folder => Path.Combine(folder, name)).FirstOrDefault(File.Exists);

    /// <summary>Arguments of a run of a few steps.</summary>
    protected static string[] Train(string output, string method, int accumulation, string[] settings) =>
    [
        "train", "--set", $"model={SharedFolder.Path("models", "stories260K", "hf")}", "--set", $"output_dir={output}", "--set", $"method={method}", "--set", "dtype=float32",
        "--set", $"data.train={SharedFolder.Path("vectors", "training", "short", "lora", "train.jsonl")}", "--set", "data.max_length=256", "--set", "data.eval_ratio=0.2",
        "--set", "device=cpu", "--set", "training.per_device_train_batch_size=1", "--set", $"training.gradient_accumulation_steps={accumulation}",
        "--set", "training.learning_rate=1e-3", "--set", "training.logging_steps=1", "--set", "training.eval_steps=4", "--set", "training.save_steps=1000", "--set", "training.report_samples=0", .. settings,
    ];

    /// <summary>What stands after each --set.</summary>
    protected static string[] Pairs(string[] arguments) => [.. arguments.Where(argument => argument.Contains('=', StringComparison.Ordinal))];

    /// <summary>Runs a program to its end and returns its exit code and its lines on standard error; calls back with its id at the third step.</summary>
    protected static (int Code, List<string> Lines) Watch(ProcessStartInfo start, Action<int>? atThirdStep = null, Action<int>? started = null)
    {
        start.RedirectStandardOutput = true;
        start.RedirectStandardError = true;
        using Process process = Process.Start(start)!;
        started?.Invoke(process.Id);
        Task<string> output = process.StandardOutput.ReadToEndAsync(TestContext.Current.CancellationToken);
        var lines = new List<string>();
        while (process.StandardError.ReadLine() is { } line)
        {
            lines.Add(line);
            if (line.StartsWith("step 3 ", StringComparison.Ordinal))
            {
                atThirdStep?.Invoke(process.Id);
            }
        }

        process.WaitForExit();
        output.Wait(TestContext.Current.CancellationToken);
        return (process.ExitCode, lines);
    }

    protected static void Signal(string signal, string process) => Process.Start("kill", [signal, process]).WaitForExit();

    /// <summary>The process of rank 1 among those below mpirun.</summary>
    protected static string ProcessOfRank1(int launcher) => Descendants($"{launcher}")
        .First(child => File.ReadAllText($"/proc/{child}/environ").Split('\0').Any(variable => variable is "OMPI_COMM_WORLD_RANK=1" or "PMI_RANK=1"));

    private static IEnumerable<string> Descendants(string process) => File.ReadAllText($"/proc/{process}/task/{process}/children").Split(' ', StringSplitOptions.RemoveEmptyEntries)
        .SelectMany(child => Descendants(child).Append(child));

    /// <summary>Losses, gradient norms and weights of two runs agree within a tolerance.</summary>
    protected static void AssertSame(string expected, string actual, double tolerance)
    {
        foreach (string key in new[] { "loss", "eval_loss", "grad_norm" })
        {
            double[] ours = Logged(actual, key);
            Assert.NotEmpty(ours);
            Assert.All(Logged(expected, key).Zip(ours), pair => Assert.InRange(Math.Abs(pair.First - pair.Second) / pair.First, 0, tolerance));
            Assert.Equal(Logged(expected, key).Length, ours.Length);
        }

        string name = File.Exists(Path.Combine(expected, "model.safetensors")) ? "model.safetensors" : "adapter_model.safetensors";
        using SafetensorsFile reference = SafetensorsFile.Open(Path.Combine(expected, name));
        using SafetensorsFile weights = SafetensorsFile.Open(Path.Combine(actual, name));
        using DisposeScope scope = torch.NewDisposeScope();
        double difference = 0;
        double size = 0;
        foreach (string tensor in reference.Tensors.Keys)
        {
            torch.Tensor whole = reference.View(tensor).to(torch.ScalarType.Float64);
            difference += (weights.View(tensor).to(torch.ScalarType.Float64) - whole).square().sum().item<double>();
            size += whole.square().sum().item<double>();
        }

        Assert.InRange(Math.Sqrt(difference / size), 0, tolerance);
    }

    private static double[] Logged(string run, string key) =>
        [.. File.ReadLines(Path.Combine(run, "metrics.jsonl")).Select(line => JsonNode.Parse(line)![key]).Where(value => value is not null).Select(value => (double)value!)];
}
