// Every task of the repository: ./build.sh --target=NAME
using System.Collections.Concurrent;
using System.Text.RegularExpressions;
using System.Threading.Tasks;

var target = Argument("target", "Build");
var configuration = "Release";
var solution = "./Core.sln";
var artifacts = Directory("./artifacts");
var packages = artifacts + Directory("packages");
var cli = artifacts + File("bin/nibble");

// Runs a program; its output is shown and returned, with its exit code.
(IReadOnlyList<string> Lines, int Code) Try(string program, string arguments, string folder = ".")
{
    var lines = new List<string>();
    var settings = new ProcessSettings
    {
        Arguments = arguments,
        WorkingDirectory = folder,
        RedirectStandardOutput = true,
        RedirectedStandardOutputHandler = line =>
        {
            if (line is not null)
            {
                Console.WriteLine(line);
                lines.Add(line);
            }

            return null;
        },
    };
    int code = StartProcess(program, settings);
    return (lines, code);
}

// Runs a program that must not fail.
void Run(string program, string arguments, string folder = ".")
{
    int code = Try(program, arguments, folder).Code;
    if (code != 0)
    {
        throw new CakeException($"{program} {arguments} ended with {code}.");
    }
}

record Tally(int Passed, int Failed, int Skipped)
{
    public static Tally operator +(Tally a, Tally b) => new(a.Passed + b.Passed, a.Failed + b.Failed, a.Skipped + b.Skipped);
}

int Number(IEnumerable<string> lines, string pattern) =>
    lines.Select(line => Regex.Match(line, pattern)).Where(match => match.Success).Sum(match => int.Parse(match.Groups[1].Value));

// CTest: "98% tests passed, 1 tests failed out of 50", and "***Skipped" after each skipped one.
Tally NativeTests(string preset)
{
    Run("cmake", $"--preset {preset} -DNIBBLE_BUILD_TESTS=ON -DNIBBLE_BUILD_GPU_BENCH=ON", "native");
    Run("cmake", $"--build --preset {preset} -j {Environment.ProcessorCount}", "native");
    var lines = Try("ctest", $"--preset {preset} -j {Environment.ProcessorCount}", "native").Lines;
    int total = Number(lines, @"tests failed out of (\d+)");
    int failed = Number(lines, @"(\d+) tests failed out of");
    int skipped = lines.Count(line => line.Contains("***Skipped"));
    return total > 0 ? new Tally(total - failed - skipped, failed, skipped) : new Tally(0, 1, 0);
}

Tally ManagedTests()
{
    Environment.SetEnvironmentVariable("NIBBLE_PROGRAM", MakeAbsolute(artifacts + File("publish/Nibble.Cli/release_linux-x64/nibble")).FullPath); // As it was packed.
    // Ranks and threads that wait are not to keep others from computing; no process lives long enough to gain from being watched.
    Environment.SetEnvironmentVariable("OMPI_MCA_mpi_yield_when_idle", "1");
    Environment.SetEnvironmentVariable("OMP_WAIT_POLICY", "passive");
    Environment.SetEnvironmentVariable("DOTNET_TieredPGO", "0");
    // Whoever begins last should not be long, so the longest go first.
    string[] longest = { "Nibble.Serving.Tests", "Nibble.Cli.Tests", "Nibble.Training.Tests" };
    var names = GetDirectories("./tests/*.Tests").Select(folder => folder.GetDirectoryName()).ToList();
    var tallies = new ConcurrentBag<Tally>();
    Parallel.ForEach(
        Partitioner.Create(longest.Concat(names.Except(longest)), EnumerablePartitionerOptions.NoBuffering),
        new ParallelOptions { MaxDegreeOfParallelism = Environment.ProcessorCount + 1 }, // Tests of programs wait more than they compute.
        name => tallies.Add(ManagedTests(name)));
    return tallies.Aggregate((a, b) => a + b);
}

// xunit: "Nibble.X.Tests  Total: 50, Errors: 0, Failed: 1, Skipped: 2, ...", unless the program crashed; it may at its end, too.
Tally ManagedTests(string name)
{
    var program = MakeAbsolute(artifacts + File($"bin/{name}/{configuration.ToLowerInvariant()}/{name}")).FullPath;
    var (lines, code) = Try(program, "-noLogo -noColor");
    int failed = Number(lines, @" Total: .* Failed: (\d+)") + Number(lines, @" Total: .* Errors: (\d+)");
    int skipped = Number(lines, @" Total: .* Skipped: (\d+)");
    int passed = Number(lines, @" Total: (\d+), Errors") - Number(lines, @" Total: .* Failed: (\d+)") - skipped;
    return new Tally(passed, passed > 0 && code == 0 ? failed : Math.Max(1, failed), skipped);
}

Task("Clean").Does(() => CleanDirectory(artifacts));

Task("Native").Does(() =>
{
    Run("cmake", "--preset release -DNIBBLE_BUILD_TESTS=OFF -DNIBBLE_BUILD_GPU_BENCH=OFF", "native");
    Run("cmake", $"--build --preset release -j {Environment.ProcessorCount}", "native");
});

Task("Build").IsDependentOn("Native").Does(() =>
{
    // One compiler for all projects, also where the environment asks for processes that end.
    DotNetBuild(solution, new DotNetBuildSettings { Configuration = configuration, MSBuildSettings = new DotNetMSBuildSettings().WithProperty("UseSharedCompilation", "true") });
    Run("dotnet", "build-server shutdown --vbcscompiler");
    // A link, so that the program finds the files beside its real place.
    Run("ln", $"-sfn Nibble.Cli/{configuration.ToLowerInvariant()}/nibble {cli}");
});

// The kernels are compiled with everything else where a compiler for them is found; this insists on it.
Task("Cuda").IsDependentOn("Build").Does(() =>
{
    var images = GetFiles("./artifacts/cuda/*.ptx");
    if (images.Count == 0)
    {
        throw new CakeException("CUDA kernels need nvcc, or clang 16 or newer (Debian: apt-get install clang-19).");
    }

    foreach (var image in images)
    {
        Console.WriteLine($"{image.GetFilename()}: {new System.IO.FileInfo(image.FullPath).Length / 1024:N0} KiB");
    }
});

// Before everything else is compiled, where apt-get may be used.
Task("Mpi").Does(() =>
{
    if (Context.Tools.Resolve("mpirun") is null && Context.Tools.Resolve("apt-get") is not null && Environment.IsPrivilegedProcess)
    {
        Try("apt-get", "install -y openmpi-bin libopenmpi-dev");
    }
});

// Communication between processes is compiled with everything else where MPI is found; this insists on it.
Task("Distributed").IsDependentOn("Mpi").IsDependentOn("Build").Does(() =>
{
    if (!FileExists("./artifacts/native/release/libnibble_comm_mpi.so"))
    {
        throw new CakeException("Runs of several processes need MPI (Debian: apt-get install openmpi-bin libopenmpi-dev).");
    }
});

Task("Pack").IsDependentOn("Build").Does(() =>
{
    CleanDirectory(packages);
    foreach (string project in new[] { "Nibble", "Nibble.Cli" })
    {
        DotNetPack($"./src/{project}", new DotNetPackSettings { Configuration = configuration, OutputDirectory = packages });
    }
});

Task("Test").IsDependentOn("Pack").Does(() =>
{
    var tally = NativeTests("release") + NativeTests("asan") + ManagedTests();
    Console.WriteLine($"{tally.Passed} passed, {tally.Failed} failed, {tally.Skipped} skipped");
    Console.Out.Flush();
    Environment.Exit(tally.Failed == 0 ? 0 : 1); // Cake would print its own report after the line.
});

Task("Quickstart").IsDependentOn("Build").Does(() =>
{
    var output = artifacts + Directory("quickstart");
    CleanDirectory(output);
    Run(MakeAbsolute(cli).FullPath, $"quickstart --out {output}");
});

Task("Bench").IsDependentOn("Build").Does(() =>
{
    var program = MakeAbsolute(artifacts + File($"bin/Nibble.Bench/{configuration.ToLowerInvariant()}/Nibble.Bench")).FullPath;
    // --filter '*Rope*' shows some kernels and leaves the report as it is.
    Run(program, HasArgument("filter") ? $"--filter {Argument<string>("filter")}" : "report bench/reports");
});

// Full fine-tuning in several processes, and a simulation of many.
Task("BenchDistributed").IsDependentOn("Build").Does(() =>
    Run(MakeAbsolute(artifacts + File($"bin/Nibble.Bench/{configuration.ToLowerInvariant()}/Nibble.Bench")).FullPath, "distributed bench/reports"));

// The training service under load.
Task("BenchService").IsDependentOn("Build").Does(() =>
    Run(MakeAbsolute(artifacts + File($"bin/Nibble.Bench/{configuration.ToLowerInvariant()}/Nibble.Bench")).FullPath, "service bench/reports"));

// Hundreds of jobs, while servers and workers are killed, on SQLite and on PostgreSQL: a quarter of an hour.
Task("Proof").IsDependentOn("Build").Does(() =>
{
    Environment.SetEnvironmentVariable("NIBBLE_PROOF", MakeAbsolute(File("bench/reports/service.md")).FullPath);
    Run(
        MakeAbsolute(artifacts + File($"bin/Nibble.Serving.Tests/{configuration.ToLowerInvariant()}/Nibble.Serving.Tests")).FullPath,
        "-class Nibble.Serving.Tests.Proof.ProofTests");
});

Task("Format").Does(() =>
{
    Run("dotnet", $"format {solution}");
    var sources = GetFiles("./native/**/*.cpp") + GetFiles("./native/**/*.h") + GetFiles("./native/**/*.cu")
        + GetFiles("./bench/gpu/*.cpp") + GetFiles("./bench/gpu/*.h") + GetFiles("./bench/peaks/*.cpp");
    Run("clang-format", "-i " + string.Join(' ', sources.Select(file => file.FullPath)));
});

RunTarget(target);
