namespace Nibble.Tests;

/// <summary>The program that tests start: the one that NIBBLE_PROGRAM names, such as a published one, whose code need not be compiled each time it starts; or the one beside the tests.</summary>
internal static class TestedProgram
{
    /// <summary>Many small programs at once are done sooner with a thread each, and end before they gain from code that is compiled again.</summary>
    static TestedProgram()
    {
        Environment.SetEnvironmentVariable("OMP_NUM_THREADS", "1");
        Environment.SetEnvironmentVariable("DOTNET_TC_CallCounting", "0");
    }

    public static string Path { get; } = Environment.GetEnvironmentVariable("NIBBLE_PROGRAM") is { Length: > 0 } named ? named : System.IO.Path.Combine(AppContext.BaseDirectory, "nibble");

    public static string Folder { get; } = System.IO.Path.GetDirectoryName(Path)!;
}
