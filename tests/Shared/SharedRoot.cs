namespace Nibble.Tests;

/// <summary>The folder of reference vectors, models and data that lies beside the repository.</summary>
internal static class SharedRoot
{
    /// <summary>How to have it, for messages.</summary>
    public const string Absent = "The folder 'shared' with the reference vectors is not beside the repository (NIBBLE_SHARED can name it).";

    /// <summary>Null where it is absent.</summary>
    public static string? Path { get; } = Locate();

    private static string? Locate()
    {
        if (Environment.GetEnvironmentVariable("NIBBLE_SHARED") is { Length: > 0 } configured)
        {
            return configured;
        }

        for (DirectoryInfo? folder = new(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            string candidate = System.IO.Path.Combine(folder.FullName, "shared");
            if (File.Exists(System.IO.Path.Combine(candidate, "README.md")))
            {
                return candidate;
            }
        }

        return null;
    }
}
