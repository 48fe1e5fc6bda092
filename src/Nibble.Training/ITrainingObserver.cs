using Nibble.Training.Reporting;

namespace Nibble.Training;

/// <summary>Is told how a run proceeds; every method may be left empty.</summary>
public interface ITrainingObserver
{
    /// <summary>A line of information.</summary>
    void Info(string message)
    {
    }

    /// <summary>Weights are being read: how many, of how many.</summary>
    void Loading(int done, int total)
    {
    }

    /// <summary>A step is done.</summary>
    void Progress(int done, int totalSteps, double loss)
    {
    }

    /// <summary>A log line was written.</summary>
    void Logged(StepMetrics metrics)
    {
    }

    /// <summary>An evaluation is done.</summary>
    void Evaluated(EvalMetrics metrics)
    {
    }
}
