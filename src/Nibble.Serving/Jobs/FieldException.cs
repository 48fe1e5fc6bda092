namespace Nibble.Serving.Jobs;

/// <summary>A field of a request cannot be accepted.</summary>
/// <param name="name">The field as the request spells it.</param>
/// <param name="problem">What is wrong with it.</param>
internal sealed class FieldException(string name, string problem) : Exception($"{name}: {problem}")
{
    public string Name => name;

    public string Problem => problem;
}
