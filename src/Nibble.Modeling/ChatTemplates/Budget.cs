using System.Runtime.CompilerServices;

namespace Nibble.Modeling.ChatTemplates;

/// <summary>What one rendering may spend, so that a hostile template ends with an error instead of hanging.</summary>
internal sealed class Budget
{
    /// <summary>Longest string, list or output, in characters or items.</summary>
    public const int Largest = 16 * 1024 * 1024;

    /// <summary>Longest range().</summary>
    public const int LongestRange = 100_000;

    private const int MostSteps = 5_000_000;
    private const int DeepestCalls = 60;

    private int steps;
    private int depth;

    public void Step(int cost = 1)
    {
        if ((steps += Math.Max(1, cost)) > MostSteps || steps < 0)
        {
            throw new ChatTemplateException($"the template takes more than {MostSteps} steps");
        }
    }

    /// <summary>Refuses to go deeper when the stack is nearly used up: long chains of operators, filters or else-branches are deep trees.</summary>
    public static void RequireStack()
    {
        if (!RuntimeHelpers.TryEnsureSufficientExecutionStack())
        {
            throw new ChatTemplateException("the template's expressions are too long or nest too deep");
        }
    }

    public T Nested<T>(Func<T> body)
    {
        if (++depth > DeepestCalls)
        {
            throw new ChatTemplateException($"the template's macros call each other deeper than {DeepestCalls} levels");
        }

        T result = body();
        depth--;
        return result;
    }

    public static void RequireSize(long size)
    {
        if (size > Largest)
        {
            throw new ChatTemplateException($"the template makes a value of {size} elements; at most {Largest} are allowed");
        }
    }
}
