using System.Diagnostics;
using System.Globalization;
using Nibble.Tests;

namespace Nibble.Cli.Tests;

/// <summary>Ctrl-C, as the terminal sends it.</summary>
[Collection("nibble")] // Programs that share the processors would only wait for each other.
public class InterruptionTests : NibbleProgram
{
    [Fact]
    public void Ctrl_C_saves_a_checkpoint_exits_130_and_the_run_resumes_to_the_same_weights()
    {
        using var folder = new TempFolder();
        Assert.Equal(0, Run(Train(folder["whole"]), interruptAt: null).Code);

        (int code, string last) = Run(Train(folder["halves"]), interruptAt: "step 5 ");
        Assert.Equal(130, code);
        Assert.Equal("nibble: interrupted", last);
        Assert.Single(Directory.GetDirectories(folder["halves"], "checkpoint-*"));
        Assert.False(File.Exists(Path.Combine(folder["halves"], "adapter_model.safetensors")));
        Assert.Equal(0, Run([.. Train(folder["halves"]), "--resume"], interruptAt: null).Code);

        byte[] Weights(string run) => File.ReadAllBytes(Path.Combine(folder[run], "adapter_model.safetensors"));
        Assert.Equal(Weights("whole"), Weights("halves"));
    }

    [Fact]
    public void Ctrl_C_ends_an_evaluation()
    {
        string[] arguments = ["eval", "--model", SharedFolder.Path("models", "stories260K", "hf"), "--data", SharedFolder.Path("data", "text", "c4_demo.jsonl")];
        Assert.Equal((130, "nibble: interrupted"), Run(arguments, interruptAt: "measuring: "));
    }

    private static string[] Train(string output) =>
    [
        "train", "--set", $"model={SharedFolder.Path("models", "stories260K", "hf")}", "--set", $"output_dir={output}",
        "--set", $"data.train={SharedFolder.Path("vectors", "training", "short", "lora", "train.jsonl")}", "--set", "data.max_length=256", "--set", "dtype=float32",
        "--set", "training.max_steps=30", "--set", "training.save_steps=1000", "--set", "training.logging_steps=1", "--set", "training.gradient_accumulation_steps=1",
    ];

    /// <summary>The exit code, and the last line on standard error.</summary>
    private static (int Code, string Last) Run(string[] arguments, string? interruptAt)
    {
        using Process process = Process.Start(Start(arguments))!;
        string last = "";
        while (process.StandardError.ReadLine() is { } line)
        {
            last = line;
            if (interruptAt is not null && line.Contains(interruptAt, StringComparison.Ordinal))
            {
                Process.Start("kill", ["-INT", process.Id.ToString(CultureInfo.InvariantCulture)]).WaitForExit();
            }
        }

        process.WaitForExit();
        return (process.ExitCode, last);
    }
}
