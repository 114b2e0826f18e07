using System.Linq;

/// <summary>An access token: in JSON, {"Bearer":"…"}.</summary>
public sealed class Auth
{
    public string Bearer { get; set; }
}

/// <summary>One of everything that JSON has; the Rust program knows the same one.</summary>
public sealed class Sample
{
    public string Name { get; set; }
    public long Count { get; set; }
    public ulong Large { get; set; }
    public double Ratio { get; set; }
    public bool On { get; set; }
    public string Nothing { get; set; }
    public string[] Tags { get; set; }
    public Auth Inner { get; set; }

    public static Sample Known()
    {
        return new Sample
        {
            Name = "one of \"everything\" + \\ and \u00e9\u4e2d\U0001F600",
            Count = long.MinValue,
            Large = ulong.MaxValue,
            Ratio = 0.1,
            On = true,
            Nothing = null,
            Tags = new[] { "a", "", "\u0001" },
            Inner = new Auth { Bearer = "t" },
        };
    }

    public bool IsKnown()
    {
        var known = Known();
        return Name == known.Name && Count == known.Count && Large == known.Large && Ratio == known.Ratio
            && On == known.On && Nothing == null && Tags.SequenceEqual(known.Tags)
            && Inner.Bearer == known.Inner.Bearer;
    }
}
