namespace Nibble.Tests;

/// <summary>Reference vectors, models and data that lie beside the repository; tests that need them skip where they are absent.</summary>
public static class SharedFolder
{
    public static string Path(params string[] parts)
    {
        if (SharedRoot.Path is null)
        {
            Assert.Skip(SharedRoot.Absent);
        }

        return System.IO.Path.Combine([SharedRoot.Path, .. parts]);
    }
}
