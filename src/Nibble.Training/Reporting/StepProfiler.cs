using Nibble.Kernels;

namespace Nibble.Training.Reporting;

/// <summary>Adds up what the operators of training steps take, and keeps the first steps in full for a trace.</summary>
internal sealed class StepProfiler
{
    /// <summary>Enough to see what repeats, few enough for a viewer.</summary>
    private const int TracedSteps = 10;

    private readonly Profiler profiler = new();
    private readonly List<ProfiledSpan> trace = [];
    private readonly Dictionary<(string Name, string Pass), (int Calls, TimeSpan Time)> operators = [];
    private TimeSpan time;
    private int steps;
    private bool warm;

    /// <summary>Whether a step was measured.</summary>
    public bool HasSteps => steps > 0;

    /// <summary>The measured steps.</summary>
    public Profile Profile => new(
        steps, time, [.. operators.Select(item => new OperatorTime(item.Key.Name, item.Key.Pass, item.Value.Calls, item.Value.Time)).OrderByDescending(item => item.Time)]);

    /// <summary>Runs a step and measures it.</summary>
    public T Measure<T>(Func<T> step)
    {
        if (HasSteps && !warm)
        {
            Forget();
            warm = true;
        }

        profiler.Clear();
        T result;
        using (profiler.Record())
        {
            using Profiler.Scope whole = Profiler.Pass("step");
            result = step();
        }

        time += profiler.Spans[^1].Duration;
        if (steps++ < TracedSteps)
        {
            trace.AddRange(profiler.Spans);
        }

        foreach (ProfiledSpan span in profiler.Spans)
        {
            if (span.Pass is { } pass)
            {
                (int calls, TimeSpan spent) = operators.GetValueOrDefault((span.Name, pass));
                operators[(span.Name, pass)] = (calls + 1, spent + span.Duration);
            }
        }

        return result;
    }

    /// <summary>Writes the first measured steps.</summary>
    public void WriteTrace(string path) => ChromeTrace.Write(path, trace);

    private void Forget()
    {
        (steps, time) = (0, TimeSpan.Zero);
        operators.Clear();
        trace.Clear();
    }
}
