using System.Diagnostics;

namespace Nibble.Serving.Workers;

/// <summary>This program again, as a worker; and what others that it starts are told.</summary>
internal static class WorkerProgram
{
    /// <summary>What a worker needs of this process's environment; keys and the like stay here.</summary>
    private static readonly string[] Inherited =
        ["PATH", "HOME", "TMPDIR", "LANG", "LC_", "TZ", "LD_LIBRARY_PATH", "NUGET_PACKAGES", "XDG_", "DOTNET_", "NIBBLE_", "CUDA_", "NVIDIA_", "OMP_", "MKL_"];

    /// <summary>The program and its arguments.</summary>
    public static IReadOnlyList<string> Command(params string[] arguments)
    {
        string program = Environment.ProcessPath!;
        return Path.GetFileNameWithoutExtension(program) == "dotnet" ? [program, Environment.GetCommandLineArgs()[0], .. arguments] : [program, .. arguments];
    }

    /// <summary>How a program is started whose input and output are listened to, without this process's secrets.</summary>
    /// <param name="command">The program and its arguments.</param>
    /// <param name="more">Beginnings of further variables that it needs.</param>
    public static ProcessStartInfo Start(IReadOnlyList<string> command, params string[] more)
    {
        var start = new ProcessStartInfo(command[0], command.Skip(1)) { RedirectStandardInput = true, RedirectStandardOutput = true, RedirectStandardError = true };
        foreach (string name in Environment.GetEnvironmentVariables().Keys.Cast<string>())
        {
            if (!Inherited.Concat(more).Any(prefix => name.StartsWith(prefix, StringComparison.Ordinal)))
            {
                start.Environment.Remove(name);
            }
        }

        return start;
    }
}
