using System.Diagnostics;
using Nibble.Tests;

namespace Nibble.Package.Tests;

/// <summary>The packages as someone without this tree uses them: from a feed.</summary>
public class PackageTests
{
    [Fact]
    public void An_outside_application_trains_ten_steps_with_the_packed_engine()
    {
        using var folder = new TempFolder();
        CopyFrontEnd(folder.Path);
        UseFeed(folder.Path);
        Run(folder.Path, "dotnet", "build", "-c", "Release", "-o", folder["app"]);
        string output = Run(folder.Path, folder["app/FrontEnd"], Path.Combine(AppContext.BaseDirectory, "Base"));
        Assert.Equal(["steps 10", "learned True", "generated 4"], output.Split('\n', StringSplitOptions.RemoveEmptyEntries));
        Assert.True(File.Exists(folder["out/adapter_model.safetensors"]));
        Assert.False(File.Exists(folder["app/runtimes/linux-x64/native/libtorch_cpu.so"]), "half a gigabyte was copied into the output folder");
    }

    [Fact]
    public void A_published_application_brings_all_it_needs()
    {
        using var folder = new TempFolder();
        CopyFrontEnd(folder.Path);
        UseFeed(folder.Path);
        Run(folder.Path, "dotnet", "publish", "-c", "Release", "-r", "linux-x64", "--self-contained", "false", "-o", folder["app"]);
        Directory.Delete(folder["packages"], recursive: true);
        Assert.False(File.Exists(folder["app/libtorch.path"]));
        string output = Run(folder.Path, folder["app/FrontEnd"], Path.Combine(AppContext.BaseDirectory, "Base"));
        Assert.Contains("steps 10", output, StringComparison.Ordinal);
    }

    [Fact]
    public void The_command_line_installs_as_a_tool_and_generates()
    {
        using var folder = new TempFolder();
        UseFeed(folder.Path);
        Run(folder.Path, "dotnet", "tool", "install", "Nibble.Cli", "--tool-path", folder["tools"]);
        string output = Run(folder.Path, folder["tools/nibble"], "generate", "--model", Path.Combine(AppContext.BaseDirectory, "Base"), "--input-ids", "1,2,3", "--max-new-tokens", "2");
        Assert.NotEmpty(output);

        // The registry of runs needs SQLite's native library.
        File.WriteAllText(folder["data.jsonl"], "{\"input_ids\": [1, 2, 3], \"labels\": [1, 2, 3]}\n");
        Run(folder.Path, folder["tools/nibble"], "train", "--set", $"model={Path.Combine(AppContext.BaseDirectory, "Base")}", "--set", "data.train=data.jsonl", "--set", "training.max_steps=1");
        Assert.Contains("\"status\":\"completed\"", Run(folder.Path, folder["tools/nibble"], "runs", "--json"), StringComparison.Ordinal);
    }

    private static void CopyFrontEnd(string folder)
    {
        foreach (string file in Directory.EnumerateFiles(Path.Combine(AppContext.BaseDirectory, "FrontEnd")))
        {
            File.Copy(file, Path.Combine(folder, Path.GetFileName(file)));
        }
    }

    /// <summary>The packed engine beside the feeds of the machine; what it depends on is there already from this tree's own restore.</summary>
    private static void UseFeed(string folder) => File.WriteAllText(Path.Combine(folder, "nuget.config"), $"""
        <configuration>
          <config><add key="globalPackagesFolder" value="packages" /></config>
          <packageSources><add key="nibble" value="{Feed()}" /></packageSources>
          <fallbackPackageFolders><add key="machine" value="{MachinePackages()}" /></fallbackPackageFolders>
        </configuration>
        """);

    private static string Feed()
    {
        for (DirectoryInfo? folder = new(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            string feed = Path.Combine(folder.FullName, "packages");
            if (Directory.Exists(feed) && Directory.EnumerateFiles(feed, "Nibble.*.nupkg").Any())
            {
                return feed;
            }
        }

        Assert.Skip("No packed engine: run ./build.sh --target=Pack.");
        return "";
    }

    private static string MachinePackages() =>
        Environment.GetEnvironmentVariable("NUGET_PACKAGES") is { Length: > 0 } configured
            ? configured
            : Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), ".nuget", "packages");

    private static string Run(string folder, string program, params string[] arguments)
    {
        var start = new ProcessStartInfo(program, arguments) { WorkingDirectory = folder, RedirectStandardOutput = true, RedirectStandardError = true };
        start.Environment["NIBBLE_HOME"] = Path.Combine(folder, "home");
        start.Environment.Remove("NUGET_PACKAGES"); // It would win over the feed's own packages folder.
        using Process process = Process.Start(start)!;
        Task<string> errors = process.StandardError.ReadToEndAsync(TestContext.Current.CancellationToken);
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        Assert.True(process.ExitCode == 0, $"{program} {string.Join(' ', arguments)} ended with {process.ExitCode}:\n{output}\n{errors.Result}");
        return output;
    }
}
