using System.Text.Json;

namespace Nibble.Training.Checkpointing;

/// <summary>A checkpoint that cannot be read any more.</summary>
public static class DamagedCheckpoint
{
    private const string Key = "damaged checkpoint";
    private const string Prefix = "damaged-";

    /// <summary>If an exception tells of one, gives it another name, so that the run resumes from the one before it, or from its beginning.</summary>
    /// <param name="exception">What resuming failed with.</param>
    /// <returns>The name that it had; null where the exception tells of something else.</returns>
    public static string? SetAside(Exception exception)
    {
        ArgumentNullException.ThrowIfNull(exception);
        if (exception.Data[Key] is not string folder)
        {
            return null;
        }

        string name = Path.GetFileName(folder);
        string aside = Path.Combine(Path.GetDirectoryName(folder)!, Prefix + name);
        if (Directory.Exists(aside))
        {
            Directory.Delete(aside, recursive: true);
        }

        Directory.Move(folder, aside);
        return name;
    }

    /// <summary>Reads a file of JSON.</summary>
    /// <exception cref="InvalidDataException">It is none; the message names it.</exception>
    internal static T? ReadJson<T>(string path, JsonSerializerOptions options)
    {
        try
        {
            return JsonSerializer.Deserialize<T>(File.ReadAllText(path), options);
        }
        catch (JsonException exception)
        {
            throw new InvalidDataException($"{Path.GetFileName(path)} is not JSON: {exception.Message}", exception);
        }
    }

    internal static InvalidDataException At(string folder, Exception problem) =>
        new($"{folder} is damaged; delete it to resume from the checkpoint before it. ({problem.Message})", problem) { Data = { [Key] = folder } };
}
