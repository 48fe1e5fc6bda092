namespace Nibble.Modeling.ChatTemplates;

/// <summary>Names of a block; inner ones see the outer, and what they set ends with them.</summary>
internal sealed class Scope(Scope? outer)
{
    private readonly Dictionary<string, object?> values = [];

    public object? this[string name]
    {
        get
        {
            for (Scope? scope = this; scope is not null; scope = scope.Outer)
            {
                if (scope.values.TryGetValue(name, out object? value))
                {
                    return value;
                }
            }

            return new Undefined(name);
        }

        set => values[name] = value;
    }

    private Scope? Outer => outer;
}
