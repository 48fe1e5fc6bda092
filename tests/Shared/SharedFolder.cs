namespace Nibble.Tests;

/// <summary>Reference vectors, models and data that lie beside the repository; tests that need them skip where they are absent.</summary>
public static class SharedFolder
{
    private static readonly string? Root = Locate();

    public static string Path(params string[] parts)
    {
        if (Root is null)
        {
            Assert.Skip("The folder 'shared' with the reference vectors is not beside the repository (NIBBLE_SHARED can name it).");
        }

        return System.IO.Path.Combine([Root, .. parts]);
    }

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
