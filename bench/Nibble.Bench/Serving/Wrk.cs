using System.ComponentModel;
using System.Diagnostics;
using System.Globalization;
using System.Text.RegularExpressions;

namespace Nibble.Bench.Serving;

/// <summary>What wrk measured.</summary>
/// <param name="PerSecond">Requests that were answered in a second.</param>
/// <param name="Median">Milliseconds of half of them at most.</param>
/// <param name="P99">Milliseconds of all but a hundredth of them at most.</param>
/// <param name="Refused">Answers that were no success, or none.</param>
internal sealed record WrkResult(double PerSecond, double Median, double P99, int Refused);

/// <summary>wrk, which sends requests over a number of connections as fast as they are answered.</summary>
internal static partial class Wrk
{
    public const int Connections = 16;

    /// <summary>Null where it is not installed.</summary>
    /// <param name="url">What is asked for.</param>
    /// <param name="seconds">For how long.</param>
    /// <param name="script">What makes the requests, in Lua; null for GET.</param>
    public static WrkResult? Measure(Uri url, int seconds, string? script = null)
    {
        string path = Path.Combine(Path.GetTempPath(), $"nibble-{Guid.NewGuid():N}.lua");
        File.WriteAllText(path, script ?? "");
        try
        {
            using var process = Process.Start(new ProcessStartInfo("wrk",
                ["-t1", $"-c{Connections}", $"-d{seconds}s", "--latency", "-s", path, url.AbsoluteUri])
            { RedirectStandardOutput = true })!;
            string output = process.StandardOutput.ReadToEnd();
            process.WaitForExit();
            return process.ExitCode == 0 ? Parse(output) : throw new InvalidOperationException($"wrk ended with {process.ExitCode}: {output}");
        }
        catch (Win32Exception)
        {
            return null;
        }
        finally
        {
            File.Delete(path);
        }
    }

    private static WrkResult Parse(string output)
    {
        Match errors = SocketErrors().Match(output);
        int refused = (Refusals().Match(output) is { Success: true } match ? int.Parse(match.Groups[1].Value, CultureInfo.InvariantCulture) : 0)
            + (errors.Success ? errors.Groups[1].Captures.Sum(capture => int.Parse(capture.Value, CultureInfo.InvariantCulture)) : 0);
        return new WrkResult(double.Parse(Rate().Match(output).Groups[1].Value, CultureInfo.InvariantCulture), Percentile(output, 50), Percentile(output, 99), refused);
    }

    private static double Percentile(string output, int percent)
    {
        Match match = Regex.Match(output, $@"^\s+{percent}%\s+([\d.]+)(us|ms|s)\s*$", RegexOptions.Multiline);
        return double.Parse(match.Groups[1].Value, CultureInfo.InvariantCulture) * match.Groups[2].Value switch { "us" => 0.001, "ms" => 1, _ => 1000 };
    }

    [GeneratedRegex(@"Requests/sec:\s+([\d.]+)")]
    private static partial Regex Rate();

    [GeneratedRegex(@"Non-2xx or 3xx responses: (\d+)")]
    private static partial Regex Refusals();

    [GeneratedRegex(@"Socket errors:(?: \w+ (\d+),?)+")]
    private static partial Regex SocketErrors();
}
