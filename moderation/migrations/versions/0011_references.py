"""Reference pictures of enrolled people who let one be kept; which part of an image was looked at; the newest hashes of a tenant and
the scans of an uploader, which pages of cases ask for.

Revision: 0011
Follows: 0010
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "face_references",
        sa.Column("person_id", sa.String(length=40), nullable=False),
        sa.Column("ciphertext", sa.LargeBinary(), nullable=False),
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["person_id"], ["people.id"], name=op.f("fk_face_references_person_id_people"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_face_references_tenant_id_tenants")),
        sa.PrimaryKeyConstraint("person_id", name=op.f("pk_face_references")),
    )
    op.create_index("ix_images_tenant_id", "images", ["tenant_id", "id"])
    op.create_index("ix_case_images_tenant_id", "case_images", ["tenant_id", "id"])
    op.create_index("ix_scans_tenant_uploader", "scans", ["tenant_id", "uploader", "id"])
    op.add_column("reveals", sa.Column("field", sa.Integer(), nullable=True))


def downgrade() -> None:
    op.drop_column("reveals", "field")
    op.drop_index("ix_scans_tenant_uploader", "scans")
    op.drop_index("ix_case_images_tenant_id", "case_images")
    op.drop_index("ix_images_tenant_id", "images")
    op.drop_table("face_references")
