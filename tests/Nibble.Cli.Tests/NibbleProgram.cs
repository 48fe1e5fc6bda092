using System.Diagnostics;
using Nibble.Tests;

namespace Nibble.Cli.Tests;

/// <summary>Starts the program as its users do.</summary>
public abstract class NibbleProgram
{
    /// <summary>In place of the user's own, for all tests that name no other.</summary>
    private static readonly TempFolder Home = new();

    static NibbleProgram() => AppDomain.CurrentDomain.ProcessExit += (_, _) => Home.Dispose();

    protected sealed record Result(int Code, string Output, string Error);

    /// <summary>On a machine without a GPU, whatever this one has.</summary>
    protected static Result Nibble(params string[] arguments) => Run([("NIBBLE_CUDA_DRIVER", "/nonexistent/libcuda.so")], arguments);

    protected static Result Run((string Name, string Value)[] environment, params string[] arguments)
    {
        ProcessStartInfo start = Start(arguments);
        start.RedirectStandardOutput = true;
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

    /// <summary>The program and its arguments, with standard error redirected.</summary>
    protected static ProcessStartInfo Start(string[] arguments) => new(TestedProgram.Path, arguments)
    {
        RedirectStandardError = true,
        Environment = { ["NIBBLE_HOME"] = Home.Path },
    };
}
