using System.Globalization;
using System.Text;

namespace Nibble.Training.Reporting;

/// <summary>Where the time of training steps went.</summary>
/// <param name="Steps">Steps that were measured; the first of a process, which warms up, is one only when it is the only one.</param>
/// <param name="Time">What they took in all.</param>
/// <param name="Operators">Their operators, the longest first.</param>
public sealed record Profile(int Steps, TimeSpan Time, IReadOnlyList<OperatorTime> Operators)
{
    /// <summary>
    /// Time of the steps that was in no operator: the engine's own, libtorch's bookkeeping, and, of weights that learn themselves, the
    /// gradients that libtorch makes on its own.
    /// </summary>
    public TimeSpan Outside => Time - Operators.Aggregate(TimeSpan.Zero, (sum, item) => sum + item.Time);

    /// <summary>A time as a share of the steps, from 0 to 1.</summary>
    public double Share(TimeSpan time) => time / Time;

    /// <inheritdoc/>
    public override string ToString()
    {
        var table = new StringBuilder();
        table.AppendLine(CultureInfo.InvariantCulture, $"{Steps} steps of {(Time / Steps).TotalMilliseconds:0.0} ms");
        table.AppendLine(CultureInfo.InvariantCulture, $"  {"operator",-28}{"pass",-15}{"calls a step",13}{"ms a step",12}{"share",9}");
        foreach (OperatorTime item in Operators)
        {
            Line(item.Name, item.Pass, $"{(double)item.Calls / Steps:0.#}", item.Time);
        }

        Line("outside operators", "", "", Outside);
        return table.ToString().TrimEnd();

        void Line(string name, string pass, string calls, TimeSpan time) => table.AppendLine(
            CultureInfo.InvariantCulture, $"  {name,-28}{pass,-15}{calls,13}{(time / Steps).TotalMilliseconds,12:0.00}{Share(time),9:P1}");
    }
}

/// <summary>What an operator took.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Pass">forward, recomputation, backward or update.</param>
/// <param name="Calls">How often it was called.</param>
/// <param name="Time">In all.</param>
public sealed record OperatorTime(string Name, string Pass, int Calls, TimeSpan Time);
