using System.Diagnostics;
using Nibble.Tests;

namespace Nibble.Cli.Tests;

/// <summary>Calls the program as its users do: in this process, which has all that takes seconds to load, or in one of its own.</summary>
public abstract class NibbleProgram
{
    /// <summary>In place of the user's own, for all tests that name no other.</summary>
    private static readonly TempFolder Home = new();

    static NibbleProgram()
    {
        AppDomain.CurrentDomain.ProcessExit += (_, _) => Home.Dispose();
        Environment.SetEnvironmentVariable("NIBBLE_HOME", Home.Path);
        Environment.SetEnvironmentVariable("NIBBLE_CUDA_DRIVER", "/nonexistent/libcuda.so"); // A machine without a GPU, whatever this one has.
    }

    protected sealed record Result(int Code, string Output, string Error);

    /// <summary>What a command comes to and writes, called in this process.</summary>
    protected static Result Nibble(params string[] arguments)
    {
        (TextWriter output, TextWriter error) = (Console.Out, Console.Error);
        using var written = new StringWriter();
        using var said = new StringWriter();
        Console.SetOut(written);
        Console.SetError(said);
        try
        {
            int code = CommandLineProgram.RunAsync(arguments).GetAwaiter().GetResult();
            return new Result(code, written.ToString(), said.ToString());
        }
        finally
        {
            Console.SetOut(output);
            Console.SetError(error);
        }
    }

    /// <summary>The same in a process of its own, with more variables.</summary>
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
    };
}
