using System.Diagnostics;

namespace Nibble.Cli.Tests;

/// <summary>Starts the program as its users do.</summary>
public abstract class NibbleProgram
{
    protected sealed record Result(int Code, string Output, string Error);

    /// <summary>On a machine without a GPU, whatever this one has.</summary>
    protected static Result Nibble(params string[] arguments) => Run([("NIBBLE_CUDA_DRIVER", "/nonexistent/libcuda.so")], arguments);

    protected static Result Run((string Name, string Value)[] environment, params string[] arguments)
    {
        var start = new ProcessStartInfo(Path.Combine(AppContext.BaseDirectory, "nibble"), arguments) { RedirectStandardOutput = true, RedirectStandardError = true };
        foreach ((string name, string value) in environment)
        {
            start.Environment[name] = value;
        }

        using Process process = Process.Start(start)!;
        Task<string> error = process.StandardError.ReadToEndAsync();
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return new Result(process.ExitCode, output, error.Result);
    }
}
